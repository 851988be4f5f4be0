/** Values that a package offers, each read when somebody asks. */
export interface MetricSource {
  /** `robustmq_<package>_<noun>_<unit>`; a counter ends in `_total`. */
  readonly name: string;
  readonly help: string;
  readonly type: 'counter' | 'gauge';
  /** Label name -> values; a closed set, never names from clients. */
  readonly values: () => Iterable<MetricValue>;
}

export interface MetricValue {
  readonly labels?: Readonly<Record<string, string>>;
  readonly value: number;
}
