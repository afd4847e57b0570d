/** Tells whether one item comes before another. */
export type Before<Item> = (left: Item, right: Item) => boolean;

/** Adds an item to a binary heap, which is an array whose first item comes before all others. */
export function pushHeap<Item extends object>(heap: Item[], item: Item, before: Before<Item>): void {
  let place = heap.length;
  heap.push(item);
  while (place > 0) {
    const above = (place - 1) >> 1;
    const parent = heap[above];
    if (parent === undefined || !before(item, parent)) break;
    heap[place] = parent;
    place = above;
  }
  heap[place] = item;
}

/** Takes the first item out of a binary heap. */
export function popHeap<Item extends object>(heap: Item[], before: Before<Item>): Item | undefined {
  const first = heap[0];
  const last = heap.pop();
  if (last === undefined || heap.length === 0) return first;
  let place = 0;
  for (;;) {
    const below = 2 * place + 1;
    const left = heap[below];
    const right = heap[below + 1];
    if (left === undefined) break;
    const child = right !== undefined && before(right, left) ? right : left;
    if (!before(child, last)) break;
    heap[place] = child;
    place = child === left ? below : below + 1;
  }
  heap[place] = last;
  return first;
}
