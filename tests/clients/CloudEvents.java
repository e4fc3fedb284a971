import io.cloudevents.CloudEvent;
import io.cloudevents.core.builder.CloudEventBuilder;
import io.cloudevents.jackson.JsonCloudEventData;
import io.cloudevents.jackson.JsonFormat;
import io.cloudevents.kafka.KafkaMessageFactory;
import com.fasterxml.jackson.databind.ObjectMapper;
import java.net.URI;
import java.time.OffsetDateTime;
import java.util.Map;
import java.util.function.UnaryOperator;
import org.apache.kafka.clients.producer.ProducerRecord;

import static java.nio.charset.StandardCharsets.UTF_8;

/**
 * Prints what the CloudEvents SDK for Java sends to Kafka, one message a line, in JSON: {"name",
 * "key", "headers", "value"}, where the value is in base64, or null.
 */
public final class CloudEvents {
    private static final ObjectMapper JSON = new ObjectMapper();
    private static final byte[] PRO = "{\"plan\":\"pro\"}".getBytes(UTF_8);

    private static final Map<String, UnaryOperator<CloudEventBuilder>> KINDS = Map.of(
            "bytes", event -> event.withData(PRO),
            "typed", event -> event.withData("application/json", PRO),
            "tree", event -> event.withData("application/json", JsonCloudEventData.wrap(JSON.valueToTree(Map.of("plan", "pro")))),
            "base64", event -> event.withData("application/octet-stream", PRO),
            "nothing", event -> event,
            "null", event -> event.withData("application/json", "null".getBytes(UTF_8)));

    private CloudEvents() {}

    public static void main(String[] args) throws Exception {
        for (var kind : KINDS.entrySet()) {
            var name = kind.getKey();
            print(name, writer().writeBinary(event(name + " binary", kind.getValue())));
            var structured = event(name + " structured", kind.getValue());
            print(name, writer().writeStructured(structured, new JsonFormat()));
        }
    }

    private static io.cloudevents.core.message.MessageWriter<?, ProducerRecord<String, byte[]>> writer() {
        return KafkaMessageFactory.createWriter("avila.inbox", "default:ada");
    }

    private static CloudEvent event(String id, UnaryOperator<CloudEventBuilder> data) {
        var event = CloudEventBuilder.v1()
                .withId(id)
                .withType("signup")
                .withSource(URI.create("/web"))
                .withSubject("ada")
                .withTime(OffsetDateTime.parse("2026-03-01T12:00:00.250Z"));
        return data.apply(event).build();
    }

    private static void print(String name, ProducerRecord<String, byte[]> record) throws Exception {
        var headers = JSON.createArrayNode();
        for (var header : record.headers()) {
            headers.addArray().add(header.key()).add(new String(header.value(), UTF_8));
        }
        var line = JSON.createObjectNode().put("name", name).put("key", record.key());
        line.set("headers", headers);
        System.out.println(JSON.writeValueAsString(line.put("value", record.value())));
    }
}
