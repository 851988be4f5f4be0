import type { Logger } from '@robustmq/core';
import { RobustError } from '@robustmq/core';
import type { Recovered, RecoveredItem, RotReport } from '@robustmq/wal';
import { decodeLogEntry } from '../codec/log-entry-codec.ts';
import type { MetaErrorCode } from '../errors.ts';
import type { StateOptions, Transition } from '../state/metadata-state.ts';
import { MetadataState } from '../state/metadata-state.ts';
import type { Checkpoint } from './checkpoint.ts';
import { decodeCheckpoint } from './checkpoint.ts';

/** A verified state that replay may begin with. */
export interface Base {
  readonly state: MetadataState;
  readonly from: 'snapshot' | 'store' | 'nothing';
}

export interface RecoveryOptions extends StateOptions {
  readonly recovered: Recovered;
  /** Folder of the log, for messages. */
  readonly folder: string;
  /** Commands that are lost are given up, with all that followed them. */
  readonly acceptLoss: boolean;
  readonly logger: Logger;
  /** The newest state that is verified. */
  readonly base: Base;
  /** Sees each transition of the replay. */
  readonly replayed: (transition: Transition) => void;
}

export interface RecoveryOutcome {
  /** Commands of the log were lost: what there is must become a snapshot before the log goes on. */
  readonly damaged: boolean;
  /** State was lost with them, and the index moved on without it. */
  readonly steppedOver: boolean;
}

/** How many commands may be gone when the whole log is, and nothing says how long it was. */
const lostWithWholeLog = 100_000;

/** The newest checkpoint of the log; throws META_IDENTITY when the log is another cluster's. */
export function checkpointOf(recovered: Recovered, options: StateOptions): Checkpoint | null {
  if (recovered.checkpoint === null) return null;
  const checkpoint = decodeCheckpoint(recovered.checkpoint);
  const { clusterId, defaultTopic } = checkpoint;
  if (clusterId === options.clusterId && defaultTopic === options.defaultTopic) return checkpoint;
  throw new RobustError<MetaErrorCode>(
    'META_IDENTITY',
    `the metadata belongs to cluster ${clusterId} with default topic ${defaultTopic}, ` +
      `not to ${options.clusterId} with ${options.defaultTopic}`,
    { detail: { clusterId, defaultTopic } },
  );
}

/**
 * Brings the base up to the end of the log. A command that is in neither is lost: the start is refused, because all
 * that follows depends on it, unless the loss is accepted. A base beyond a damaged place makes the damage harmless.
 */
export async function replay(options: RecoveryOptions): Promise<RecoveryOutcome> {
  const { recovered, base, logger } = options;
  const { state } = base;
  const start = state.index;
  const checkpoint = checkpointOf(recovered, options);
  let last = checkpoint?.committed ?? 0;
  let gapAt: RecoveredItem | null = null;
  for await (const frame of recovered.frames) {
    for (const item of frame) {
      const entry = decodeLogEntry(item.bytes);
      last = Math.max(last, entry.index);
      if (entry.index <= state.index || gapAt !== null) continue;
      if (entry.index > state.index + 1) gapAt = item;
      else options.replayed(state.apply(entry.index, entry.command));
    }
  }
  const wholeLog = checkpoint === null && last === 0 && start > 0;
  const missing = wholeLog ? lostWithWholeLog : last - state.index;
  if (missing > 0) return loss(options, { missing, gapAt, wholeLog });
  if (recovered.rot.length > 0) {
    logger.error(
      { rot: recovered.rot, base: base.from, index: start },
      'damaged metadata log, made good from its copy',
    );
  } else if (start > last) {
    logger.error({ index: start, logEnd: last }, 'the metadata log lost its tail, made good from its copy');
  }
  return { damaged: recovered.rot.length > 0 || start > last, steppedOver: false };
}

function loss(
  options: RecoveryOptions,
  gap: { missing: number; gapAt: RecoveredItem | null; wholeLog: boolean },
): RecoveryOutcome {
  const { recovered, base, logger, acceptLoss } = options;
  const { state } = base;
  const place = placeOf(options, gap);
  const detail = {
    ...place,
    kept: state.index,
    missing: gap.wholeLog ? null : gap.missing,
    rot: recovered.rot,
  };
  if (!acceptLoss) {
    throw new RobustError<MetaErrorCode>(
      'META_LOG_LOST',
      `committed metadata after index ${state.index} is lost at ${place.file}, position ${place.position}; ` +
        'no verified copy holds it. Restore the folder, or go on without it by: robustmq meta accept-loss',
      { detail },
    );
  }
  logger.error(detail, 'lost metadata was given up');
  state.stepOver(state.index + gap.missing);
  return { damaged: true, steppedOver: true };
}

/** Where an operator looks first: what the log found damaged, else where the sequence of commands breaks. */
function placeOf(
  { folder, recovered }: RecoveryOptions,
  gap: { gapAt: RecoveredItem | null; wholeLog: boolean },
): { file: string; position: number } {
  if (gap.wholeLog) return { file: folder, position: 0 };
  const rot: RotReport | undefined = recovered.rot[0];
  if (rot !== undefined) {
    return {
      file: `${folder}/${rot.file ?? `(missing file of generation ${rot.generation})`}`,
      position: rot.position,
    };
  }
  if (gap.gapAt === null) {
    return { file: `${folder} (generation ${recovered.end.generation})`, position: recovered.end.position };
  }
  const { generation, position } = gap.gapAt.position;
  return { file: `${folder} (generation ${generation})`, position };
}
