import type { PublishTemplate } from '@robustmq/mqtt-codec';

/** Most templates that are kept for receivers with properties of their own, and most bytes of them. */
const receiversMax = 64;
const receiverBytesMax = 1024 * 1024;

/** What tells the templates of one record apart. */
export interface TemplateKey {
  readonly v5: boolean;
  /** QoS 1 and 2 share a template: only the first byte and the packet id differ. */
  readonly acknowledged: boolean;
  readonly retain: boolean;
  /** By identity; null before MQTT 5. */
  readonly receiverProperties: Buffer | null;
}

type Slots = (PublishTemplate | undefined)[];

/**
 * The encoded forms of one record, at most eight for all receivers without properties of their own. For the others
 * it remembers a bounded number and forgets nothing but by `clear`: receivers share property buffers where they can.
 */
export class TemplateCache {
  #shared: Slots = [];
  readonly #byReceiver = new Map<Buffer, Slots>();
  #receiverBytes = 0;
  #used = false;

  get(key: TemplateKey): PublishTemplate | undefined {
    const { receiverProperties } = key;
    const slots = receiverProperties === null ? this.#shared : this.#byReceiver.get(receiverProperties);
    return slots?.[slotOf(key)];
  }

  /** Remembers a template, if there is room. */
  set(key: TemplateKey, template: PublishTemplate): void {
    const { receiverProperties } = key;
    this.#used = true;
    if (receiverProperties === null) {
      this.#shared[slotOf(key)] = template;
      return;
    }
    let slots = this.#byReceiver.get(receiverProperties);
    if (slots === undefined) {
      if (this.#byReceiver.size >= receiversMax) return;
      slots = [];
      this.#byReceiver.set(receiverProperties, slots);
    }
    if (this.#receiverBytes + template.bytes.length > receiverBytesMax) return;
    this.#receiverBytes += template.bytes.length;
    slots[slotOf(key)] = template;
  }

  clear(): void {
    if (!this.#used) return;
    this.#used = false;
    this.#shared = [];
    this.#byReceiver.clear();
    this.#receiverBytes = 0;
  }
}

function slotOf(key: TemplateKey): number {
  return (key.v5 ? 1 : 0) | (key.acknowledged ? 2 : 0) | (key.retain ? 4 : 0);
}
