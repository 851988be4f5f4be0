import java.time.Duration;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ExecutionException;
import java.util.concurrent.TimeUnit;
import org.apache.kafka.clients.admin.Admin;
import org.apache.kafka.clients.admin.AlterConfigOp;
import org.apache.kafka.clients.admin.ConfigEntry;
import org.apache.kafka.clients.admin.NewPartitions;
import org.apache.kafka.clients.admin.NewTopic;
import org.apache.kafka.clients.admin.OffsetSpec;
import org.apache.kafka.clients.admin.RecordsToDelete;
import org.apache.kafka.clients.consumer.ConsumerRecord;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.consumer.OffsetAndMetadata;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.clients.producer.RecordMetadata;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.config.ConfigResource;

/** Runs each scenario against the broker in the first argument and prints `PASS name` or `FAIL name: why`. */
public final class ClientCheck {
  private static final Duration POLL = Duration.ofMillis(200);
  private static final long DEADLINE_MS = 15_000;
  private static String broker;

  private interface Scenario {
    void run() throws Exception;
  }

  public static void main(String[] args) {
    broker = args[0];
    for (String codec : List.of("none", "gzip", "snappy", "lz4", "zstd")) {
      scenario("produces and consumes with " + codec, () -> codec(codec));
    }
    scenario("resumes where it committed", ClientCheck::resumes);
    scenario("shares partitions cooperatively", ClientCheck::cooperative);
    scenario("keeps the place of a static member", ClientCheck::staticMember);
    scenario("manages topics", ClientCheck::topics);
    scenario("manages groups", ClientCheck::groups);
    scenario("describes the cluster", ClientCheck::cluster);
  }

  private static void scenario(String name, Scenario scenario) {
    try {
      scenario.run();
      System.out.println("PASS " + name);
    } catch (Throwable error) {
      System.out.println("FAIL " + name + ": " + error);
    }
  }

  private static void codec(String codec) throws Exception {
    String topic = "java-" + codec;
    List<String> sent = new ArrayList<>();
    try (var producer = producer(Map.of("compression.type", codec, "linger.ms", "20"))) {
      List<java.util.concurrent.Future<RecordMetadata>> answers = new ArrayList<>();
      for (int i = 0; i < 300; i++) {
        var record = new ProducerRecord<>(topic, null, 1_700_000_000_000L + i, "key-" + i % 7, "again and again " + i);
        record.headers().add("index", String.valueOf(i).getBytes());
        answers.add(producer.send(record));
        sent.add(record.value());
      }
      for (var answer : answers) check(answer.get(10, TimeUnit.SECONDS).offset() >= 0, "an offset");
    }
    try (var consumer = consumer("java-group-" + codec, Map.of())) {
      consumer.subscribe(List.of(topic));
      List<ConsumerRecord<String, String>> records = read(consumer, sent.size());
      Set<String> values = new TreeSet<>();
      for (var record : records) {
        String index = new String(record.headers().lastHeader("index").value());
        check(record.value().endsWith(" " + index), "the header of its record");
        check(record.timestamp() == 1_700_000_000_000L + Integer.parseInt(index), "the timestamp as sent");
        values.add(record.value());
      }
      check(values.equals(new TreeSet<>(sent)), "what was sent");
      consumer.commitSync();
    }
  }

  private static void resumes() throws Exception {
    produce("java-resume", 0, 50);
    try (var consumer = consumer("java-resume-group", Map.of())) {
      consumer.subscribe(List.of("java-resume"));
      check(read(consumer, 50).size() == 50, "50 records");
      consumer.commitSync();
    }
    produce("java-resume", 50, 70);
    try (var consumer = consumer("java-resume-group", Map.of())) {
      consumer.subscribe(List.of("java-resume"));
      Set<Integer> values = new TreeSet<>();
      for (var record : read(consumer, 20)) values.add(Integer.parseInt(record.value()));
      check(values.size() == 20 && values.contains(50) && !values.contains(49), "only what came later: " + values);
    }
  }

  private static void cooperative() throws Exception {
    String topic = "java-cooperative";
    try (var admin = admin()) {
      admin.createTopics(List.of(new NewTopic(topic, 6, (short) 1))).all().get();
    }
    var assignor = Map.of("partition.assignment.strategy", "org.apache.kafka.clients.consumer.CooperativeStickyAssignor");
    try (var one = consumer("java-cooperative-group", assignor);
        var two = consumer("java-cooperative-group", assignor)) {
      one.subscribe(List.of(topic));
      until("one has all", () -> poll(one).size() == 6);
      two.subscribe(List.of(topic));
      until("they share", () -> poll(one).size() == 3 & poll(two).size() == 3);
      Set<TopicPartition> all = new java.util.HashSet<>(one.assignment());
      all.addAll(two.assignment());
      check(all.size() == 6, "every partition has one reader");
      one.unsubscribe();
      until("two takes all", () -> poll(two).size() == 6);
    }
  }

  private static void staticMember() throws Exception {
    String topic = "java-static";
    produce(topic, 0, 1);
    Map<String, String> member = Map.of("group.instance.id", "reader-1", "session.timeout.ms", "30000");
    int generation;
    try (var consumer = consumer("java-static-group", member)) {
      consumer.subscribe(List.of(topic));
      until("assigned", () -> poll(consumer).size() == 4);
      generation = consumer.groupMetadata().generationId();
    }
    try (var consumer = consumer("java-static-group", member)) {
      consumer.subscribe(List.of(topic));
      until("assigned again", () -> poll(consumer).size() == 4);
      check(consumer.groupMetadata().generationId() == generation, "no rebalance");
    }
  }

  private static void topics() throws Exception {
    String topic = "java-managed";
    try (var admin = admin()) {
      var created = admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1).configs(Map.of("retention.ms", "60000"))));
      check(created.numPartitions(topic).get() == 2, "2 partitions");
      fails("TopicExistsException", () -> admin.createTopics(List.of(new NewTopic(topic, 2, (short) 1))).all().get());
      admin.createPartitions(Map.of(topic, NewPartitions.increaseTo(3))).all().get();
      var described = admin.describeTopics(List.of(topic)).allTopicNames().get().get(topic);
      check(described.partitions().size() == 3, "3 partitions");
      check(described.topicId().equals(created.topicId(topic).get()), "the same id");
      var resource = new ConfigResource(ConfigResource.Type.TOPIC, topic);
      var set = new AlterConfigOp(new ConfigEntry("retention.bytes", "1048576"), AlterConfigOp.OpType.SET);
      var remove = new AlterConfigOp(new ConfigEntry("retention.ms", ""), AlterConfigOp.OpType.DELETE);
      admin.incrementalAlterConfigs(Map.of(resource, List.<AlterConfigOp>of(set, remove))).all().get();
      var config = admin.describeConfigs(List.of(resource)).all().get().get(resource);
      check(config.get("retention.bytes").value().equals("1048576"), "retention.bytes");
      check(config.get("retention.ms").isDefault(), "retention.ms is the default again");
      var wrong = new AlterConfigOp(new ConfigEntry("no.such.key", "1"), AlterConfigOp.OpType.SET);
      fails("InvalidConfigurationException", () -> admin.incrementalAlterConfigs(Map.of(resource, List.of(wrong))).all().get());
      produce(topic, 0, 40);
      var partition = new TopicPartition(topic, 0);
      long end = admin.listOffsets(Map.of(partition, OffsetSpec.latest())).partitionResult(partition).get().offset();
      check(end > 2, "records in the first partition");
      var deleted = admin.deleteRecords(Map.of(partition, RecordsToDelete.beforeOffset(2))).lowWatermarks().get(partition);
      check(deleted.get().lowWatermark() == 2, "low watermark");
      long start = admin.listOffsets(Map.of(partition, OffsetSpec.earliest())).partitionResult(partition).get().offset();
      check(start == 2, "the log starts at 2");
      admin.deleteTopics(List.of(topic)).all().get();
      check(!admin.listTopics().names().get().contains(topic), "it is gone");
    }
  }

  private static void groups() throws Exception {
    String topic = "java-grouped";
    String group = "java-managed-group";
    produce(topic, 0, 20);
    try (var admin = admin()) {
      try (var consumer = consumer(group, Map.of())) {
        consumer.subscribe(List.of(topic));
        read(consumer, 20);
        consumer.commitSync();
        var described = admin.describeConsumerGroups(List.of(group)).all().get().get(group);
        check(described.members().size() == 1, "one member");
        fails("GroupNotEmptyException", () -> admin.deleteConsumerGroups(List.of(group)).all().get());
      }
      Map<TopicPartition, OffsetAndMetadata> offsets =
          admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
      check(offsets.values().stream().mapToLong(OffsetAndMetadata::offset).sum() == 20, "20 committed");
      var partition = new TopicPartition(topic, 1);
      admin.alterConsumerGroupOffsets(group, Map.of(partition, new OffsetAndMetadata(1))).all().get();
      admin.deleteConsumerGroupOffsets(group, Set.of(new TopicPartition(topic, 0))).all().get();
      offsets = admin.listConsumerGroupOffsets(group).partitionsToOffsetAndMetadata().get();
      check(offsets.get(partition).offset() == 1, "an offset that was moved");
      check(offsets.get(new TopicPartition(topic, 0)) == null, "an offset that was deleted");
      admin.deleteConsumerGroups(List.of(group)).all().get();
      boolean left = admin.listGroups().all().get().stream().anyMatch(listing -> listing.groupId().equals(group));
      check(!left, "the group is gone");
    }
  }

  private static void cluster() throws Exception {
    try (var admin = admin()) {
      var nodes = admin.describeCluster().nodes().get();
      check(nodes.size() == 1, "one node");
      var node = nodes.iterator().next();
      check((node.host() + ":" + node.port()).equals(broker), "its address: " + node);
      check(admin.describeLogDirs(List.of(node.id())).allDescriptions().get().get(node.id()).size() == 1, "a log dir");
    }
  }

  private static void produce(String topic, int from, int to) {
    try (var producer = producer(Map.of())) {
      for (int i = from; i < to; i++) producer.send(new ProducerRecord<>(topic, "key-" + i % 9, String.valueOf(i)));
    }
  }

  private static List<ConsumerRecord<String, String>> read(KafkaConsumer<String, String> consumer, int count) {
    List<ConsumerRecord<String, String>> records = new ArrayList<>();
    long until = System.currentTimeMillis() + DEADLINE_MS;
    while (records.size() < count && System.currentTimeMillis() < until) {
      for (var record : consumer.poll(POLL)) records.add(record);
    }
    check(records.size() == count, count + " records, not " + records.size());
    return records;
  }

  private static Collection<TopicPartition> poll(KafkaConsumer<String, String> consumer) {
    consumer.poll(POLL);
    return consumer.assignment();
  }

  private static void until(String what, java.util.function.BooleanSupplier condition) {
    long until = System.currentTimeMillis() + DEADLINE_MS;
    while (!condition.getAsBoolean()) check(System.currentTimeMillis() < until, "in time: " + what);
  }

  private static void fails(String exception, Scenario scenario) throws Exception {
    try {
      scenario.run();
    } catch (ExecutionException error) {
      String name = error.getCause().getClass().getSimpleName();
      check(name.equals(exception), exception + ", not " + name);
      return;
    }
    check(false, "it must fail with " + exception);
  }

  private static void check(boolean holds, String what) {
    if (!holds) throw new IllegalStateException("expected " + what);
  }

  private static Admin admin() {
    return Admin.create(properties(Map.of()));
  }

  private static KafkaProducer<String, String> producer(Map<String, String> own) {
    Properties properties = properties(own);
    properties.put("key.serializer", "org.apache.kafka.common.serialization.StringSerializer");
    properties.put("value.serializer", "org.apache.kafka.common.serialization.StringSerializer");
    return new KafkaProducer<>(properties);
  }

  private static KafkaConsumer<String, String> consumer(String group, Map<String, String> own) {
    Properties properties = properties(own);
    properties.put("group.id", group);
    properties.put("auto.offset.reset", "earliest");
    properties.put("enable.auto.commit", "false");
    properties.put("heartbeat.interval.ms", "300");
    properties.put("key.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
    properties.put("value.deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
    return new KafkaConsumer<>(properties);
  }

  private static Properties properties(Map<String, String> own) {
    Properties properties = new Properties();
    properties.put("bootstrap.servers", broker);
    properties.putAll(own);
    return properties;
  }
}
