import com.fasterxml.jackson.databind.ObjectMapper;
import java.io.IOException;
import java.net.URI;
import java.net.http.HttpClient;
import java.net.http.HttpRequest;
import java.net.http.HttpResponse;
import java.nio.ByteBuffer;
import java.time.Duration;
import java.time.LocalDate;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import org.apache.avro.Schema;
import org.apache.avro.generic.GenericDatumReader;
import org.apache.avro.generic.GenericRecord;
import org.apache.avro.io.DecoderFactory;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.TopicPartition;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;
import org.apache.kafka.common.serialization.StringDeserializer;

/**
 * Reads a funnel's figures from their topic; needs org.apache.kafka:kafka-clients and
 * org.apache.avro:avro. (Confluent's KafkaAvroDeserializer does what {@link #read} does.)
 *
 * <pre>java -cp … ConsumeFunnel localhost:9092 avila.funnels http://localhost:8081 default checkout</pre>
 */
public final class ConsumeFunnel {
    private static final int HEADER_BYTES = 5; // a zero and the schema's id

    private final String registryUrl;
    private final HttpClient http = HttpClient.newHttpClient();
    private final Map<Integer, GenericDatumReader<GenericRecord>> readers = new HashMap<>();

    private ConsumeFunnel(String registryUrl) {
        this.registryUrl = registryUrl;
    }

    public static void main(String[] args) throws Exception {
        var newest = new ConsumeFunnel(args[2]).newest(args[0], args[1], args[3] + "/" + args[4] + "/");
        System.out.println(new ObjectMapper().writeValueAsString(addedUp(newest)));
    }

    /** The newest record of each key, up to the present end; to go on, do not stop there. */
    private List<GenericRecord> newest(String bootstrap, String topic, String prefix)
            throws Exception {
        Map<String, Object> config = Map.of(
                "bootstrap.servers", bootstrap,
                "isolation.level", "read_committed", // Java's default is to read what may be undone
                "enable.auto.commit", false);
        var newest = new HashMap<String, GenericRecord>();
        try (var consumer = new KafkaConsumer<>(
                config, new StringDeserializer(), new ByteArrayDeserializer())) {
            var partitions = consumer.partitionsFor(topic).stream()
                    .map(one -> new TopicPartition(topic, one.partition()))
                    .toList();
            consumer.assign(partitions);
            consumer.seekToBeginning(partitions);
            var ends = consumer.endOffsets(partitions);
            while (partitions.stream().anyMatch(one -> consumer.position(one) < ends.get(one))) {
                for (var record : consumer.poll(Duration.ofSeconds(1))) {
                    if (record.key() == null || !record.key().startsWith(prefix)) {
                        continue;
                    }
                    if (record.value() == null) { // the figures of what has been changed or deleted
                        newest.remove(record.key());
                    } else {
                        newest.put(record.key(), read(record.value()));
                    }
                }
            }
        }
        return new ArrayList<>(newest.values());
    }

    private GenericRecord read(byte[] value) throws IOException, InterruptedException {
        var id = ByteBuffer.wrap(value).getInt(1);
        if (!readers.containsKey(id)) {
            readers.put(id, new GenericDatumReader<>(schema(id)));
        }
        var length = value.length - HEADER_BYTES;
        var datum = DecoderFactory.get().binaryDecoder(value, HEADER_BYTES, length, null);
        return readers.get(id).read(null, datum);
    }

    private Schema schema(int id) throws IOException, InterruptedException {
        var request = HttpRequest.newBuilder(URI.create(registryUrl + "/schemas/ids/" + id)).build();
        var answer = http.send(request, HttpResponse.BodyHandlers.ofString()).body();
        return new Schema.Parser().parse(new ObjectMapper().readTree(answer).get("schema").asText());
    }

    /** The figures of the version that counts, those of the partitions added up. */
    private static Map<String, Object> addedUp(List<GenericRecord> records) {
        var version = countingVersion(records);
        var totals = new ArrayList<Long>();
        var days = new TreeMap<String, List<Long>>();
        var lateDropped = 0L;
        for (var record : records) {
            if ((int) record.get("version") != version) {
                continue;
            }
            lateDropped += (long) record.get("late_dropped");
            var day = (Integer) record.get("day");
            var sums = day == null
                    ? totals
                    : days.computeIfAbsent(LocalDate.ofEpochDay(day).toString(), none -> new ArrayList<>());
            add(sums, (List<?>) record.get("reached"));
        }
        days.values().removeIf(reached -> reached.stream().allMatch(count -> count == 0));
        return Map.of("totals", totals, "days", days, "late_dropped", lateDropped);
    }

    /** The highest version that is live on all partitions; the highest of all if none is. */
    private static int countingVersion(List<GenericRecord> records) {
        var versions = new TreeSet<Integer>();
        var backfilling = new TreeSet<Integer>();
        for (var record : records) {
            versions.add((Integer) record.get("version"));
            if (record.get("backfilling_to") != null) {
                backfilling.add((Integer) record.get("version"));
            }
        }
        var live = new TreeSet<>(versions);
        live.removeAll(backfilling);
        var candidates = live.isEmpty() ? versions : live;
        return candidates.isEmpty() ? 0 : candidates.last();
    }

    private static void add(List<Long> sums, List<?> more) {
        for (var step = 0; step < more.size(); step++) {
            var count = (Long) more.get(step);
            if (step < sums.size()) {
                sums.set(step, sums.get(step) + count);
            } else {
                sums.add(count);
            }
        }
    }
}
