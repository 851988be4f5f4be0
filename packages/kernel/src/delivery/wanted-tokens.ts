import { filterTokens } from '../names/tokens.ts';
import type { FilterTokens } from '../names/tokens.ts';

/** Above this many alternatives asking the filters of blocks costs more than it saves. */
export const alternativesMax = 4096;

/** What readers with these subject filters look for in a topic's blocks; null when any block may hold it. */
export function wantedTokens(
  topic: { readonly name: string },
  filters: Iterable<string>,
  options: { readonly defaultTopic: string },
): readonly FilterTokens[] | null {
  const alternatives: FilterTokens[] = [];
  for (const filter of filters) {
    const tokens = filterTokens(topic, filter, options);
    if (tokens === null || alternatives.length === alternativesMax) return null;
    alternatives.push(tokens);
  }
  return alternatives;
}
