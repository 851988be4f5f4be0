import { FilterEntry } from './filter-entry.ts';
import { firstLevel, isWildcardFilter } from './filter.ts';
import type { Subscription } from './match.ts';

/** A level in the trie of wildcard filters. Children exist only where a filter needs them. */
class TrieNode {
  readonly parent: TrieNode | null;
  /** Its own level, under which its parent holds it; `+` for the parent's `plus`. */
  readonly level: string;
  children: Map<string, TrieNode> | null = null;
  plus: TrieNode | null = null;
  /** The filter that ends with `#` below this node. */
  hash: FilterEntry | null = null;
  /** The filter that ends at this node. */
  entry: FilterEntry | null = null;

  constructor(parent: TrieNode | null, level: string) {
    this.parent = parent;
    this.level = level;
  }

  isEmpty(): boolean {
    return this.children === null && this.plus === null && this.hash === null && this.entry === null;
  }
}

/**
 * Subscriptions by filter: a map of the filters without wildcards and a trie of the others. Every filter is valid
 * (`isSubjectFilter`), so nothing here is deeper than 128 levels, and nothing recurses.
 */
export class FilterIndex {
  readonly #exact = new Map<string, FilterEntry>();
  readonly #root = new TrieNode(null, '');
  /** Filters per first level. */
  readonly #firstLevels = new Map<string, number>();
  #wildcardFilters = 0;
  #subscriptions = 0;
  #nodes = 0;
  /** Nodes that the subject's levels so far lead to, and the next ones; kept between walks. */
  #reached: TrieNode[] = [];
  #next: TrieNode[] = [];

  /** Distinct filters. */
  get filterCount(): number {
    return this.#exact.size + this.#wildcardFilters;
  }

  get subscriptionCount(): number {
    return this.#subscriptions;
  }

  /** Trie nodes below the root. */
  get nodeCount(): number {
    return this.#nodes;
  }

  /** Adds a subscription; true when it is the first of its filter. Adding it again changes nothing. */
  add(subscription: Subscription): boolean {
    const filter = subscription.filter;
    let entry = this.entry(filter);
    const first = entry === null;
    entry ??= this.#insert(filter);
    if (entry.add(subscription)) this.#subscriptions++;
    return first;
  }

  /** Removes a subscription; true when it was the last of its filter. One that is not there changes nothing. */
  remove(subscription: Subscription): boolean {
    const filter = subscription.filter;
    const entry = this.entry(filter);
    if (entry === null || !entry.remove(subscription)) return false;
    this.#subscriptions--;
    if (entry.size > 0) return false;
    this.#delete(filter);
    return true;
  }

  /** The entry of exactly this filter. */
  entry(filter: string): FilterEntry | null {
    if (!isWildcardFilter(filter)) return this.#exact.get(filter) ?? null;
    const { path, hash } = splitFilter(filter);
    let node: TrieNode | null | undefined = this.#root;
    for (const level of path) {
      node = level === '+' ? node.plus : node.children?.get(level);
      if (node === null || node === undefined) return null;
    }
    return hash ? node.hash : node.entry;
  }

  /** Whether any filter has this first level, as text (`+` and `#` stand for themselves). */
  hasFirstLevel(level: string): boolean {
    return this.#firstLevels.has(level);
  }

  /**
   * Puts into `into` the entries whose filters match the subject `name`; without `rootWildcards` not those that
   * begin with a wildcard. Costs one map look-up per level and trie node on the way; allocates the level strings.
   */
  collect(name: string, rootWildcards: boolean, into: FilterEntry[]): void {
    const exact = this.#exact.get(name);
    if (exact !== undefined) into.push(exact);
    if (this.#wildcardFilters > 0) this.#walk(name, true, rootWildcards, into);
  }

  /** Puts into `into` the matching entries that `collect` leaves out without `rootWildcards`. */
  collectRootWildcards(name: string, into: FilterEntry[]): void {
    if (this.#wildcardFilters > 0) this.#walk(name, false, true, into);
  }

  /** All filters, in no order. */
  filters(): string[] {
    const filters = [...this.#exact.keys()];
    const pending = [this.#root];
    for (let node = pending.pop(); node !== undefined; node = pending.pop()) {
      if (node.entry !== null) filters.push(node.entry.filter);
      if (node.hash !== null) filters.push(node.hash.filter);
      if (node.plus !== null) pending.push(node.plus);
      if (node.children !== null) pending.push(...node.children.values());
    }
    return filters;
  }

  /** Level by level with all nodes at once, so that each level of the name is cut out once. */
  #walk(name: string, literals: boolean, rootWildcards: boolean, into: FilterEntry[]): void {
    const root = this.#root;
    let reached = this.#reached;
    let next = this.#next;
    let end = name.indexOf('/');
    const first = end < 0 ? name : name.slice(0, end);
    if (rootWildcards) {
      if (root.hash !== null) into.push(root.hash);
      if (root.plus !== null) reached.push(root.plus);
    }
    const child = literals ? root.children?.get(first) : undefined;
    if (child !== undefined) reached.push(child);

    while (end >= 0 && reached.length > 0) {
      const start = end + 1;
      end = name.indexOf('/', start);
      const level = end < 0 ? name.slice(start) : name.slice(start, end);
      for (const node of reached) {
        if (node.hash !== null) into.push(node.hash);
        if (node.plus !== null) next.push(node.plus);
        const below = node.children?.get(level);
        if (below !== undefined) next.push(below);
      }
      const spare = reached;
      reached = next;
      next = spare;
      next.length = 0;
    }
    for (const node of reached) {
      if (node.entry !== null) into.push(node.entry);
      // `a/#` matches `a` too.
      if (node.hash !== null) into.push(node.hash);
    }
    reached.length = 0;
    this.#reached = reached;
    this.#next = next;
  }

  #insert(filter: string): FilterEntry {
    const entry = new FilterEntry(filter);
    const first = firstLevel(filter);
    this.#firstLevels.set(first, (this.#firstLevels.get(first) ?? 0) + 1);
    if (!isWildcardFilter(filter)) {
      this.#exact.set(filter, entry);
      return entry;
    }
    this.#wildcardFilters++;
    const { path, hash } = splitFilter(filter);
    let node = this.#root;
    for (const level of path) node = this.#descend(node, level);
    if (hash) node.hash = entry;
    else node.entry = entry;
    return entry;
  }

  #descend(node: TrieNode, level: string): TrieNode {
    const child = level === '+' ? node.plus : node.children?.get(level);
    if (child !== null && child !== undefined) return child;
    const made = new TrieNode(node, level);
    this.#nodes++;
    if (level === '+') node.plus = made;
    else (node.children ??= new Map()).set(level, made);
    return made;
  }

  /** Takes out a filter that is there, and the nodes that only it needed. */
  #delete(filter: string): void {
    const first = firstLevel(filter);
    const left = (this.#firstLevels.get(first) ?? 1) - 1;
    if (left === 0) this.#firstLevels.delete(first);
    else this.#firstLevels.set(first, left);
    if (!isWildcardFilter(filter)) {
      this.#exact.delete(filter);
      return;
    }
    this.#wildcardFilters--;
    const { path, hash } = splitFilter(filter);
    let node = this.#root;
    for (const level of path) node = this.#descend(node, level);
    if (hash) node.hash = null;
    else node.entry = null;
    while (node.parent !== null && node.isEmpty()) {
      const { parent, level } = node;
      if (level === '+') parent.plus = null;
      else {
        parent.children?.delete(level);
        if (parent.children?.size === 0) parent.children = null;
      }
      this.#nodes--;
      node = parent;
    }
  }
}

/** The levels that lead to the node of a wildcard filter, and whether it ends with `#` below that node. */
function splitFilter(filter: string): { path: string[]; hash: boolean } {
  const path = filter.split('/');
  const hash = path[path.length - 1] === '#';
  if (hash) path.pop();
  return { path, hash };
}
