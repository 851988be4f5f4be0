/**
 * Knows one kind of state that a server acknowledged and a crash must not change. It is asked in turns: `before` a kill
 * and `after` the restart.
 */
export interface Witness {
  /** Makes state and resolves when the server has acknowledged it. */
  before(kill: number): Promise<void>;
  /** What is not as it was acknowledged, in words; empty: all is well. */
  after(kill: number): Promise<string[]>;
  close(): Promise<void>;
}
