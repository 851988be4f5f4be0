import type { TopicRecord } from '../ports/metadata.ts';

/**
 * Whether publishes to names below the topic's go to it. The default topic is where names go that no bound topic
 * takes, so it is never bound itself. Source: docs/semantics.md 1.2, 1.3.
 */
export function isBoundTopic(topic: TopicRecord, defaultTopic: string): boolean {
  return topic.config.get('subject.bind') === 'true' && !topic.internal && topic.name !== defaultTopic;
}

/**
 * Whether filters that begin with a wildcard match the topic's subjects: the default topic's, a bound topic's, and
 * of the others only where the topic asks for it. Source: docs/semantics.md 1.4.
 */
export function takesRootWildcards(topic: TopicRecord, defaultTopic: string): boolean {
  return (
    topic.name === defaultTopic ||
    isBoundTopic(topic, defaultTopic) ||
    topic.config.get('subject.wildcard') === 'true'
  );
}
