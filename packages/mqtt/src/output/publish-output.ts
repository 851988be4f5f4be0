import type { ProtocolVersion } from '@robustmq/mqtt-codec';
import { writeTemplate, publishFirstByte } from '@robustmq/mqtt-codec';
import type { Receiver } from '../delivery/plan.ts';
import type { OutboundForm, OutboundMessage } from '../mapping/outbound.ts';
import type { MqttCounters } from '../metrics.ts';
import type { Outbox } from './outbox.ts';
import { copyBytesMax } from './outbox.ts';

/** What CONNECT said about what the client takes. */
export interface ClientLimits {
  readonly version: ProtocolVersion;
  /** Largest packet it takes, bytes. */
  readonly maxPacketBytes: number;
  /** Topic aliases that it takes from us, at most. */
  readonly topicAliasMaximum: number;
}

/** How one PUBLISH is written. */
export type PublishForm = OutboundForm;

/** Filled for each message, so that delivering allocates nothing. */
const atMostOnceForm: { -readonly [Key in keyof PublishForm]: PublishForm[Key] } = {
  qos: 0,
  retain: false,
  dup: false,
  packetId: 0,
  properties: null,
  now: 0,
};

/** A name of fewer bytes is not longer than its alias, which would make a packet grow beyond what was found to fit. */
const aliasedTopicBytesMin = 5;

export interface PublishOutputModules {
  readonly outbox: Outbox;
  readonly counters: MqttCounters;
  readonly unsentBytesMax: number;
}

/** Writes PUBLISH packets of one connection. */
export class PublishOutput {
  readonly client: ClientLimits;
  readonly #outbox: Outbox;
  readonly #counters: MqttCounters;
  readonly #unsentBytesMax: number;
  /** By the subject's name, which is one buffer as long as the subject is in use. */
  #aliases: Map<Buffer, number> | null = null;

  constructor(client: ClientLimits, modules: PublishOutputModules) {
    this.client = client;
    this.#outbox = modules.outbox;
    this.#counters = modules.counters;
    this.#unsentBytesMax = modules.unsentBytesMax;
  }

  /** Forgets the aliases; the connection is gone. */
  drop(): void {
    this.#aliases = null;
  }

  /** Whether the connection has taken as much as it may hold. */
  get full(): boolean {
    return this.#outbox.unsentBytes > this.#unsentBytesMax;
  }

  /** Sends at QoS 0, or drops and counts: expired, too large, or the connection is full. */
  atMostOnce(message: OutboundMessage, receiver: Receiver, shared: boolean, now: number): void {
    if (this.full) {
      this.#counters.droppedFull++;
      return;
    }
    atMostOnceForm.retain = receiver.retainAsPublished && message.retain;
    atMostOnceForm.properties = this.client.version === 5 ? receiver.properties : null;
    atMostOnceForm.now = now;
    if (this.fits(message, atMostOnceForm)) this.write(message, atMostOnceForm, shared);
  }

  /** Whether the message may be sent at all; counts why not. */
  fits(message: OutboundMessage, form: PublishForm): boolean {
    if (message.expired(form.now)) {
      this.#counters.droppedExpired++;
      return false;
    }
    const { version, maxPacketBytes } = this.client;
    if (maxPacketBytes !== Infinity && message.size(version, form) > maxPacketBytes) {
      this.#counters.droppedTooLarge++;
      return false;
    }
    return true;
  }

  /** Writes into the outbox: from the encoding that all receivers share, or straight from the record. */
  write(message: OutboundMessage, plain: PublishForm, shared: boolean): void {
    this.#counters.publishesSent++;
    const { version, topicAliasMaximum } = this.client;
    const outbox = this.#outbox;
    const form = topicAliasMaximum === 0 ? plain : this.#aliased(message, plain);
    if (!shared || form !== plain) {
      const size = message.size(version, form);
      if (size <= copyBytesMax) {
        const slab = outbox.reserve(size);
        outbox.filled(message.write(slab, outbox.used, version, form));
        return;
      }
    }
    const template = message.template(version, plain);
    const { bytes } = template;
    if (form.qos === 0) {
      outbox.append(bytes);
      return;
    }
    const { packetId } = form;
    const receiver = { firstByte: publishFirstByte(form.qos, form.retain, form.dup), packetId };
    if (bytes.length <= copyBytesMax) {
      const slab = outbox.reserve(bytes.length);
      outbox.filled(writeTemplate(slab, outbox.used, template, receiver));
      return;
    }
    const own = Buffer.allocUnsafe(bytes.length);
    writeTemplate(own, 0, template, receiver);
    outbox.append(own);
  }

  /** With an alias where the topic has one or can get one; the first packet with it carries the name as well. */
  #aliased(message: OutboundMessage, form: PublishForm): PublishForm {
    if (!message.topicIsInterned || message.topic.length < aliasedTopicBytesMin) return form;
    this.#aliases ??= new Map();
    const known = this.#aliases.get(message.topic);
    if (known !== undefined) return { ...form, topicAlias: known, aliasKnown: true };
    if (this.#aliases.size >= this.client.topicAliasMaximum) return form;
    const aliased = { ...form, topicAlias: this.#aliases.size + 1, aliasKnown: false };
    // It must not make a packet too large that fits without it, or one that is written without aliases.
    const size = message.size(this.client.version, aliased);
    if (size > this.client.maxPacketBytes || size > copyBytesMax) return form;
    this.#aliases.set(message.topic, aliased.topicAlias);
    return aliased;
  }

  /** The packet in a buffer of its own, for one that has to wait. */
  encode(message: OutboundMessage, form: PublishForm): Buffer {
    this.#counters.publishesSent++;
    const { version } = this.client;
    const own = Buffer.allocUnsafe(message.size(version, form));
    message.write(own, 0, version, form);
    return own;
  }
}
