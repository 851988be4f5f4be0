import { errorCodes, heartbeat, joinGroup, offsetCommit, syncGroup } from '@robustmq/kafka-codec';
import type { ResponseOf } from '@robustmq/kafka-codec';
import { KafkaClient } from './kafka-client.ts';

const protocols = [{ name: 'range', metadata: Buffer.from('subscription') }];
const sessionTimeoutMs = 60_000;

/** The only member of a consumer group, as raw requests: says the code of each answer, and repeats nothing. */
export class GroupMember {
  readonly groupId: string;
  readonly #client: KafkaClient;
  #memberId = '';
  #generationId = -1;

  private constructor(client: KafkaClient, groupId: string) {
    this.#client = client;
    this.groupId = groupId;
  }

  static async connect(port: number, groupId: string): Promise<GroupMember> {
    return new GroupMember(await KafkaClient.connect({ host: '127.0.0.1', port }), groupId);
  }

  /** The same member over another connection: on one connection answers come in the order of the requests. */
  async beside(port: number): Promise<GroupMember> {
    const member = await GroupMember.connect(port, this.groupId);
    member.#memberId = this.#memberId;
    member.#generationId = this.#generationId;
    return member;
  }

  async join(): Promise<number> {
    const ask = (): Promise<ResponseOf<typeof joinGroup>> =>
      this.#client.send(joinGroup, 9, {
        groupId: this.groupId,
        memberId: this.#memberId,
        sessionTimeoutMs,
        protocolType: 'consumer',
        protocols,
      });
    let answer = await ask();
    if (answer.errorCode === errorCodes.MEMBER_ID_REQUIRED) {
      this.#memberId = answer.memberId;
      answer = await ask();
    }
    if (answer.errorCode === 0) {
      this.#memberId = answer.memberId;
      this.#generationId = answer.generationId;
    }
    return answer.errorCode;
  }

  async sync(): Promise<number> {
    const assignments = [{ memberId: this.#memberId, assignment: Buffer.from('all') }];
    const answer = await this.#client.send(syncGroup, 5, { ...this.#speaker, assignments });
    return answer.errorCode;
  }

  async heartbeat(): Promise<number> {
    return (await this.#client.send(heartbeat, 4, this.#speaker)).errorCode;
  }

  /** Commits one offset of partition 0. */
  async commit(topic: string, committedOffset: number): Promise<number> {
    const partitions = [{ partitionIndex: 0, committedOffset, committedMetadata: '' }];
    const { groupId, memberId, generationId } = this.#speaker;
    const answer = await this.#client.send(offsetCommit, 8, {
      groupId,
      memberId,
      generationIdOrMemberEpoch: generationId,
      topics: [{ name: topic, partitions }],
    });
    return answer.topics[0]!.partitions[0]!.errorCode;
  }

  close(): void {
    this.#client.close();
  }

  get #speaker(): { groupId: string; memberId: string; generationId: number } {
    return { groupId: this.groupId, memberId: this.#memberId, generationId: this.#generationId };
  }
}
