package cdc;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.debezium.embedded.Connect;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.RecordChangeEvent;
import io.debezium.engine.format.ChangeEventFormat;
import java.io.DataInputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.IdentityHashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.json.JsonConverter;
import org.apache.kafka.connect.source.SourceRecord;

/**
 * Debezium's engine as a process: configuration in on stdin, change messages out on stdout.
 *
 * In:  one frame (int32 length, a JSON object of the engine's properties), then nothing until the end of the stream,
 *      which ends the process at once. So it never outlives who started it, and no secret is in a command line.
 * Out: frames in the machine's byte order (int32 length of what follows the kind, a byte of kind, the rest):
 *        K  a kind of message, numbered from 0 in the order of these frames: JSON {"topic", "schema"}, Connect's schema
 *           of the values as JsonConverter writes it
 *        B  a batch: int32 n, int32[n] kind of each message, int32[n] its length in bytes, the messages (JSON)
 *        E  the end, for whatever reason: JSON {"success", "message", "causes": [[class, message], ...]}
 *
 * Debezium makes two messages of a change of a row's key, a delete and a create; they leave as the one update that they
 * were. Its `before` is the key alone, but for the tables in `cdc.whole` (JSON list of "schema.table"), whose old rows
 * are in the log.
 *
 * Nothing is ever reported to the engine as processed: it commits no offset and moves no slot. What was received is
 * for the platform to keep, and where reading begins is for it to say (GivenOffset).
 */
public final class Engine implements DebeziumEngine.ChangeConsumer<RecordChangeEvent<SourceRecord>> {
    private static final String NEW_KEY = "__debezium.newkey";
    private final OutputStream out;
    private final ObjectMapper mapper = new ObjectMapper();
    private final JsonConverter schemas = new JsonConverter();
    private final Json json = new Json();
    private final Map<String, IdentityHashMap<Schema, Integer>> kinds = new HashMap<>();
    private final Set<String> whole;
    private int known;
    private SourceRecord left; // the first half of a change of key

    private Engine(OutputStream out, Set<String> whole) throws IOException {
        this.out = out;
        this.whole = whole;
        schemas.configure(Map.of("schemas.enable", "true"), false);
    }

    public static void main(String[] arguments) throws Exception {
        OutputStream out = new FileOutputStream(FileDescriptor.out);
        System.setOut(System.err); // nobody else writes between the frames
        DataInputStream in = new DataInputStream(System.in);
        boolean little = ByteOrder.nativeOrder() == ByteOrder.LITTLE_ENDIAN;
        int length = in.readInt();
        byte[] given = new byte[little ? Integer.reverseBytes(length) : length];
        in.readFully(given);
        Properties properties = new Properties();
        properties.putAll(new ObjectMapper().readValue(given, new TypeReference<Map<String, String>>() {}));
        Thread watch = new Thread(() -> {
            try {
                while (in.read() >= 0) {
                }
            } catch (IOException gone) {
                // as the end of the stream
            }
            Runtime.getRuntime().halt(0);
        }, "end of input");
        watch.setDaemon(true);
        watch.start();
        Engine engine = new Engine(
                out,
                new ObjectMapper().readValue(properties.getProperty("cdc.whole"), new TypeReference<Set<String>>() {}));
        DebeziumEngine.create(ChangeEventFormat.of(Connect.class))
                .using(properties)
                .using((success, message, error) -> engine.ended(success, message, error))
                .notifying(engine)
                .build()
                .run();
        Runtime.getRuntime().halt(0);
    }

    @Override
    public void handleBatch(
            List<RecordChangeEvent<SourceRecord>> events,
            DebeziumEngine.RecordCommitter<RecordChangeEvent<SourceRecord>> committer) {
        try {
            write(events);
        } catch (IOException gone) {
            ended(false, "a batch could not be handed on", gone);
            Runtime.getRuntime().halt(1); // nobody reads any more, or a value of a class that is not known
        }
    }

    private synchronized void write(List<RecordChangeEvent<SourceRecord>> events) throws IOException {
        int count = 0;
        int end = 0;
        int[] kind = new int[events.size()];
        int[] size = new int[events.size()];
        for (RecordChangeEvent<SourceRecord> event : events) {
            SourceRecord record = event.record();
            if (record.headers().lastWithName(NEW_KEY) != null) {
                left = record;
            } else if (record.value() != null) { // a tombstone says nothing new
                kind[count] = kindOf(record);
                int upto = left == null
                        ? json.add(record.valueSchema(), record.value())
                        : json.addKeyChange(left, record, isWhole(record));
                left = null;
                size[count++] = upto - end;
                end = upto;
            }
        }
        ByteBuffer head = buffer('B', 4 + 8 * count, end).putInt(count);
        for (int message = 0; message < count; message++) {
            head.putInt(kind[message]);
        }
        for (int message = 0; message < count; message++) {
            head.putInt(size[message]);
        }
        out.write(head.array());
        out.write(json.take());
    }

    private boolean isWhole(SourceRecord record) {
        Struct source = ((Struct) record.value()).getStruct("source");
        Object schema = source.get(source.schema().field("schema") == null ? "db" : "schema");
        return whole.contains(schema + "." + source.getString("table"));
    }

    /** A topic's messages are of another kind where their schema is another object: Debezium makes one a table shape. */
    private int kindOf(SourceRecord record) throws IOException {
        IdentityHashMap<Schema, Integer> ofTopic =
                kinds.computeIfAbsent(record.topic(), topic -> new IdentityHashMap<>());
        Integer kind = ofTopic.get(record.valueSchema());
        if (kind == null) {
            kind = known++;
            ofTopic.put(record.valueSchema(), kind);
            Map<String, Object> told = new HashMap<>();
            told.put("topic", record.topic());
            told.put("schema", schemas.asJsonSchema(record.valueSchema()));
            send('K', mapper.writeValueAsBytes(told));
        }
        return kind;
    }

    private synchronized void ended(boolean success, String message, Throwable error) {
        try {
            List<List<String>> causes = new ArrayList<>();
            for (Throwable cause = error; cause != null && causes.size() < 20; cause = cause.getCause()) {
                causes.add(List.of(cause.getClass().getName(), String.valueOf(cause.getMessage())));
            }
            Map<String, Object> end = new HashMap<>();
            end.put("success", success);
            end.put("message", String.valueOf(message));
            end.put("causes", causes);
            send('E', mapper.writeValueAsBytes(end));
        } catch (IOException gone) {
            Runtime.getRuntime().halt(0);
        }
    }

    private void send(char kind, byte[] body) throws IOException {
        out.write(buffer(kind, body.length, 0).put(body).array());
    }

    /** A frame's head and `here` bytes of its body; `later` more follow. */
    private static ByteBuffer buffer(char kind, int here, int later) {
        ByteBuffer buffer = ByteBuffer.allocate(5 + here).order(ByteOrder.nativeOrder());
        return buffer.putInt(here + later).put((byte) kind);
    }
}
