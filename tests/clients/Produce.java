import java.time.Instant;
import java.util.Map;
import java.util.UUID;
import org.apache.kafka.clients.producer.KafkaProducer;
import org.apache.kafka.clients.producer.Producer;
import org.apache.kafka.clients.producer.ProducerRecord;
import org.apache.kafka.common.serialization.StringSerializer;

import static java.nio.charset.StandardCharsets.UTF_8;

/**
 * Produces events straight onto Kafka as CloudEvents in JSON; needs org.apache.kafka:kafka-clients.
 *
 * <pre>java -cp … Produce localhost:9092 avila.inbox</pre>
 */
public final class Produce {
    private static final String PROJECT = "default";
    private static final String PERSON = "ada";

    private Produce() {}

    public static void main(String[] args) throws Exception {
        // Idempotent and with acks=all by default; and keys are partitioned as is expected here.
        Map<String, Object> config = Map.of("bootstrap.servers", args[0]);
        var text = new StringSerializer();
        try (Producer<String, String> producer = new KafkaProducer<>(config, text, text)) {
            var signup = binary(args[1], "signup", "{\"plan\": \"pro\"}");
            var invite = structured(args[1], "invite", "{\"count\": 2}");
            var sent = producer.send(signup);
            producer.send(invite).get(); // once these return, every replica in sync has it
            sent.get();
        }
    }

    /** A record in binary mode: the attributes are headers, the value is the data alone. */
    private static ProducerRecord<String, String> binary(String topic, String event, String data) {
        var record = new ProducerRecord<>(topic, PROJECT + ":" + PERSON, data);
        var headers = record.headers();
        attributes(event).forEach((name, value) -> headers.add("ce_" + name, value.getBytes(UTF_8)));
        headers.add("content-type", "application/json".getBytes(UTF_8));
        return record;
    }

    /** A record in structured mode: the value is the whole event, as any JSON library writes it. */
    private static ProducerRecord<String, String> structured(
            String topic, String event, String data) {
        var value = new StringBuilder("{");
        attributes(event).forEach((name, text) -> value.append("\"%s\": \"%s\", ".formatted(name, text)));
        value.append("\"data\": ").append(data).append("}");
        var record = new ProducerRecord<>(topic, PROJECT + ":" + PERSON, value.toString());
        record.headers().add("content-type", "application/cloudevents+json".getBytes(UTF_8));
        return record;
    }

    private static Map<String, String> attributes(String event) {
        return Map.of(
                "specversion", "1.0",
                "id", UUID.randomUUID().toString(), // sent again with it, the event counts once
                "source", "shop",
                "type", event,
                "subject", PERSON,
                "time", Instant.now().toString(),
                "project", PROJECT);
    }
}
