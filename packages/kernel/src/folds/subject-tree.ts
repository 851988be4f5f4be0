interface Node<Value> {
  children: Map<string, Node<Value>> | null;
  value: Value | undefined;
}

/** Values by hierarchical name, found by filters: the mirror image of the subscription index. Not recursive. */
export class SubjectTree<Value> {
  readonly #root: Node<Value> = { children: null, value: undefined };
  #size = 0;

  get size(): number {
    return this.#size;
  }

  get(name: string): Value | undefined {
    let node: Node<Value> | undefined = this.#root;
    for (const level of name.split('/')) {
      node = node?.children?.get(level);
      if (node === undefined) return undefined;
    }
    return node?.value;
  }

  set(name: string, value: Value): void {
    let node = this.#root;
    for (const level of name.split('/')) {
      node.children ??= new Map();
      let child = node.children.get(level);
      if (child === undefined) {
        child = { children: null, value: undefined };
        node.children.set(level, child);
      }
      node = child;
    }
    if (node.value === undefined) this.#size++;
    node.value = value;
  }

  delete(name: string): void {
    const path: { node: Node<Value>; level: string }[] = [];
    let node = this.#root;
    for (const level of name.split('/')) {
      const child = node.children?.get(level);
      if (child === undefined) return;
      path.push({ node, level });
      node = child;
    }
    if (node.value === undefined) return;
    node.value = undefined;
    this.#size--;
    while (node.value === undefined && (node.children === null || node.children.size === 0)) {
      const parent = path.pop();
      if (parent === undefined) return;
      parent.node.children!.delete(parent.level);
      node = parent.node;
    }
  }

  values(): Iterable<Value> {
    return subtree(this.#root);
  }

  /** Values whose name the filter matches; a wildcard first level does not match names that begin with `$`. */
  *match(filter: string): Iterable<Value> {
    const levels = filter.split('/');
    const stack: { node: Node<Value>; depth: number }[] = [{ node: this.#root, depth: 0 }];
    for (let top = stack.pop(); top !== undefined; top = stack.pop()) {
      const { node, depth } = top;
      const level = levels[depth];
      if (level === undefined) {
        if (node.value !== undefined) yield node.value;
        continue;
      }
      if (level === '#') {
        // `a/#` matches `a` as well.
        if (node.value !== undefined && depth > 0) yield node.value;
        for (const [name, child] of node.children ?? []) {
          if (depth === 0 && name.startsWith('$')) continue;
          yield* subtree(child);
        }
        continue;
      }
      if (level === '+') {
        for (const [name, child] of node.children ?? []) {
          if (depth === 0 && name.startsWith('$')) continue;
          stack.push({ node: child, depth: depth + 1 });
        }
        continue;
      }
      const child = node.children?.get(level);
      if (child !== undefined) stack.push({ node: child, depth: depth + 1 });
    }
  }
}

function* subtree<Value>(root: Node<Value>): Iterable<Value> {
  const stack = [root];
  for (let node = stack.pop(); node !== undefined; node = stack.pop()) {
    if (node.value !== undefined) yield node.value;
    if (node.children !== null) for (const child of node.children.values()) stack.push(child);
  }
}
