import type { Offset, ShardId } from '@robustmq/core';
import { shortAckBytesMax, writePubrel } from '@robustmq/mqtt-codec';
import type { RecordTaker, RetainedRecord, Shard } from '@robustmq/kernel';
import type { SubscriptionOptions } from '../delivery/plan.ts';
import { identifiers } from '../delivery/plan.ts';
import { OutboundMessage } from '../mapping/outbound.ts';
import type { PublishForm } from '../output/publish-output.ts';
import { openedShard } from './opened-shard.ts';
import type { InflightEntry, StoredSubscription } from './session-state.ts';
import type { Session } from './session.ts';

/** Messages in flight that are read again at a time. */
const redeliverMax = 64;

/** Puts the subscriptions of a kept session in force again; nothing above QoS 0 goes out before `redeliver`. */
export async function resubscribe(session: Session): Promise<void> {
  const { state, kernel } = session;
  session.redelivering = true;
  const filters = [...state.subscriptions.keys()];
  const shards = await kernel.subscriptions.prepare(filters);
  if (session.ended) return;
  // Before the router knows the session: from here on the live path leaves these shards to the cursors.
  const needed = session.cursorShards();
  for (const shard of shards) {
    if (needed.has(shard.id)) session.fallBehind(shard.id, cursorOf(session, shard.id));
  }
  session.resuming = false;
  for (const stored of state.subscriptions.values()) {
    const options: SubscriptionOptions = {
      noLocal: stored.noLocal,
      retainAsPublished: stored.retainAsPublished,
      subscriptionId: stored.subscriptionId,
    };
    const request = {
      filter: stored.filter,
      subscriber: session,
      guarantee: stored.qos,
      options,
      since: stored.since,
    };
    const [registered] = kernel.subscriptions.subscribe([request], shards);
    session.subscriptions.set(stored.filter, registered!);
    if (stored.retainedDue) {
      const due = retainedDue(session, stored, shards);
      if (due.length > 0) session.retained.add(registered!, due);
      else session.retained.finished(registered!);
    }
  }
}

/**
 * What is retained and was not sent for a subscription yet. What is in flight is sent again from there, and what was
 * published since the subscription began comes from its cursor, unless it is for QoS 0.
 */
function retainedDue(
  session: Session,
  stored: StoredSubscription,
  shards: readonly Shard[],
): RetainedRecord[] {
  const sent = new Map<string, Offset>();
  for (const { subject, sourceOffset } of stored.retainedSent) sent.set(subject, sourceOffset);
  for (const { retainedSubject, offset } of session.window.entries()) {
    if (retainedSubject !== null) sent.set(retainedSubject, offset);
  }
  const message = new OutboundMessage();
  const due: RetainedRecord[] = [];
  for (const shard of shards) {
    const since = stored.since.get(shard.id) ?? 0;
    for (const record of session.kernel.subscriptions.retained(stored.filter, [shard])) {
      if (sent.get(record.subject) === record.sourceOffset) continue;
      if (record.sourceOffset >= since && stored.qos > 0) {
        message.readRetained(record);
        if (message.guarantee > 0) continue;
      }
      due.push(record);
    }
  }
  return due;
}

/** Where reading begins: the session's cursor, or where its oldest filter begins to count. */
function cursorOf(session: Session, shard: ShardId): number {
  const { state, kernel } = session;
  const cursor = state.cursors.get(shard);
  if (cursor !== undefined) return cursor;
  let from = Infinity;
  for (const stored of state.subscriptions.values()) {
    if (stored.qos === 0) continue;
    // A shard that is not named was created later, and is read from its start.
    const since = stored.since.get(shard);
    const matches = kernel.subscriptions
      .topicsOf(stored.filter)
      .some((topic) => topic.shards.includes(shard));
    if (matches) from = Math.min(from, since ?? 0);
  }
  return from === Infinity ? 0 : from;
}

/**
 * Sends again what was in flight, in its order and with DUP (MQTT-4.4.0-1, MQTT-4.6.0-1), in runs that one reading of a
 * shard can find; then the session reads on from its cursors.
 */
export async function redeliver(session: Session): Promise<void> {
  const entries = session.window.entries();
  for (let at = 0; at < entries.length && !session.ended; ) {
    // What is in flight may be far more than a connection may hold.
    if (session.output.full) {
      await session.whenWritable();
      continue;
    }
    const run = runFrom(entries, at);
    const first = run[0]!;
    if (first.phase === 'released') {
      for (const entry of run) writeRelease(session, entry.packetId);
      at += run.length;
    } else if (first.retainedSubject !== null) {
      await redeliverRetained(session, first);
      at++;
    } else at += await redeliverRun(session, run);
  }
  if (session.ended) return;
  session.redelivering = false;
  session.wake();
}

/** Entries in a row of one shard whose offsets rise; or released ones; or one that is retained. */
function runFrom(entries: readonly InflightEntry[], from: number): InflightEntry[] {
  const first = entries[from]!;
  const run = [first];
  if (first.phase === 'publish' && first.retainedSubject !== null) return run;
  for (let at = from + 1; at < entries.length && run.length < redeliverMax; at++) {
    const entry = entries[at]!;
    if (entry.phase !== first.phase) break;
    const last = run.at(-1)!;
    if (entry.phase === 'publish') {
      if (entry.retainedSubject !== null || entry.shard !== last.shard || entry.offset <= last.offset) break;
    }
    run.push(entry);
  }
  return run;
}

/** Returns how many of the run were dealt with: those before the connection was full. */
async function redeliverRun(session: Session, run: readonly InflightEntry[]): Promise<number> {
  const { kernel } = session;
  const shard = await openedShard(kernel, run[0]!.shard);
  const message = new OutboundMessage();
  const offsets = run.map((entry) => entry.offset);
  let at = 0;
  let full = false;
  const take: RecordTaker = (batch, row) => {
    full ||= session.output.full;
    if (full) return;
    const offset = batch.records.offset(row);
    for (; at < run.length && run[at]!.offset < offset; at++) session.dropInflight(run[at]!.packetId);
    message.read(batch, row);
    sendAgain(session, message, run[at++]!);
  };
  if (shard !== null) await kernel.lookup.read(shard, offsets, take);
  if (full) return at;
  // What is not there any more was trimmed, and can't be delivered.
  for (; at < run.length; at++) session.dropInflight(run[at]!.packetId);
  return at;
}

async function redeliverRetained(session: Session, entry: InflightEntry): Promise<void> {
  const { kernel } = session;
  const subject = entry.retainedSubject!;
  const shards = await kernel.subscriptions.prepare([subject]);
  const [record] = kernel.subscriptions.retained(subject, shards);
  // What replaced it comes live; under this packet id a client would drop it as a repetition.
  if (record?.sourceOffset !== entry.offset) {
    session.dropInflight(entry.packetId);
    return;
  }
  const message = new OutboundMessage();
  message.readRetained(record);
  sendAgain(session, message, entry);
}

function sendAgain(session: Session, message: OutboundMessage, entry: InflightEntry): void {
  const { output, context } = session;
  // The client may have answered it meanwhile, for instance what it still had in its own buffers.
  if (session.ended || session.window.get(entry.packetId) !== entry) return;
  const form: PublishForm = {
    qos: entry.qos,
    retain: entry.retain,
    dup: true,
    packetId: entry.packetId,
    properties: output.client.version === 5 ? identifiers(entry.subscriptionIds) : null,
    now: context.clock.now(),
  };
  if (output.fits(message, form)) output.write(message, form, false);
  else session.dropInflight(entry.packetId);
}

function writeRelease(session: Session, packetId: number): void {
  const { outbox } = session.connection;
  const slab = outbox.reserve(shortAckBytesMax);
  outbox.filled(writePubrel(slab, outbox.used, packetId));
}
