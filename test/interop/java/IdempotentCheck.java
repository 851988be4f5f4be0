import java.time.Duration;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.TopicPartition;

/** Produces numbers with the default (idempotent) producer while somebody kills the broker, then reads them back. */
public final class IdempotentCheck {
  public static void main(String[] args) throws Exception {
    String topic = args[1];
    int count = Integer.parseInt(args[2]);
    Properties properties = new Properties();
    properties.put("bootstrap.servers", args[0]);
    properties.put("reconnect.backoff.max.ms", "500");
    properties.put("linger.ms", "1");
    for (String side : List.of("key", "value")) {
      properties.put(side + ".serializer", "org.apache.kafka.common.serialization.StringSerializer");
      properties.put(side + ".deserializer", "org.apache.kafka.common.serialization.StringDeserializer");
    }
    AtomicReference<Exception> failure = new AtomicReference<>();
    try (var producer = new KafkaProducer<String, String>(properties)) {
      for (int i = 0; i < count; i++) {
        producer.send(new ProducerRecord<>(topic, 0, null, String.valueOf(i)), (metadata, error) -> {
          if (error != null) failure.compareAndSet(null, error);
        });
        if (i % 5 == 0) Thread.sleep(1);
      }
    }
    if (failure.get() != null) throw failure.get();
    try (var consumer = new KafkaConsumer<String, String>(properties)) {
      var partition = new TopicPartition(topic, 0);
      consumer.assign(List.of(partition));
      consumer.seekToBeginning(List.of(partition));
      long end = consumer.endOffsets(List.of(partition)).get(partition);
      int next = 0;
      while (consumer.position(partition) < end) {
        for (var record : consumer.poll(Duration.ofMillis(200))) {
          if (!record.value().equals(String.valueOf(next))) {
            throw new IllegalStateException("offset " + record.offset() + " has " + record.value() + ", not " + next);
          }
          next++;
        }
      }
      if (next != count) throw new IllegalStateException(next + " records, not " + count);
    }
    System.out.println("PASS");
  }
}
