package cdc;

import com.fasterxml.jackson.core.type.TypeReference;
import com.fasterxml.jackson.databind.ObjectMapper;
import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.JsonByteArray;
import java.io.DataInputStream;
import java.io.FileDescriptor;
import java.io.FileOutputStream;
import java.io.IOException;
import java.io.OutputStream;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.charset.StandardCharsets;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;

/**
 * Debezium's engine as a process: configuration in on stdin, change messages out on stdout.
 *
 * In:  one frame, a JSON object of the engine's properties; then nothing until the end of the stream, which ends the
 *      process at once. So it never outlives who started it, and no secret is in a command line.
 * Out: frames in the machine's byte order (int32 length of what follows the kind, a byte of kind, the rest):
 *        T  a topic's name, UTF-8; topics are numbered from 0 in the order of these frames
 *        B  a batch: int32 n, int32[n] topic of each message, int32[n] its length in bytes, the messages' bytes
 *        E  the end, for whatever reason: JSON {"success", "message", "causes": [[class, message], ...]}
 *
 * Nothing is ever reported to the engine as processed: it commits no offset and moves no slot. What was received is
 * for the platform to keep, and where reading begins is for it to say (GivenOffset).
 */
public final class Engine implements DebeziumEngine.ChangeConsumer<ChangeEvent<byte[], byte[]>> {
    private final OutputStream out;
    private final Map<String, Integer> topics = new HashMap<>();

    private Engine(OutputStream out) {
        this.out = out;
    }

    public static void main(String[] arguments) throws Exception {
        OutputStream out = new FileOutputStream(FileDescriptor.out);
        System.setOut(System.err); // nobody else writes between the frames
        DataInputStream in = new DataInputStream(System.in);
        byte[] given = new byte[Integer.reverseBytes(in.readInt())];
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
        Engine engine = new Engine(out);
        DebeziumEngine.create(JsonByteArray.class)
                .using(properties)
                .using((success, message, error) -> engine.ended(success, message, error))
                .notifying(engine)
                .build()
                .run();
        Runtime.getRuntime().halt(0);
    }

    @Override
    public void handleBatch(
            List<ChangeEvent<byte[], byte[]>> events,
            DebeziumEngine.RecordCommitter<ChangeEvent<byte[], byte[]>> committer) {
        try {
            write(events);
        } catch (IOException gone) {
            Runtime.getRuntime().halt(0); // nobody reads any more
        }
    }

    private synchronized void write(List<ChangeEvent<byte[], byte[]>> events) throws IOException {
        int count = 0;
        int bytes = 0;
        for (ChangeEvent<byte[], byte[]> event : events) {
            if (event.value() != null) {
                topic(event.destination());
                count++;
                bytes += event.value().length;
            }
        }
        ByteBuffer batch = buffer('B', 4 + 8 * count + bytes);
        batch.putInt(count);
        for (ChangeEvent<byte[], byte[]> event : events) {
            if (event.value() != null) {
                batch.putInt(topics.get(event.destination()));
            }
        }
        for (ChangeEvent<byte[], byte[]> event : events) {
            if (event.value() != null) {
                batch.putInt(event.value().length);
            }
        }
        for (ChangeEvent<byte[], byte[]> event : events) {
            if (event.value() != null) {
                batch.put(event.value());
            }
        }
        out.write(batch.array());
    }

    private void topic(String name) throws IOException {
        if (topics.putIfAbsent(name, topics.size()) == null) {
            send('T', name.getBytes(StandardCharsets.UTF_8));
        }
    }

    private synchronized void ended(boolean success, String message, Throwable error) {
        try {
            List<List<String>> causes = new java.util.ArrayList<>();
            for (Throwable cause = error; cause != null && causes.size() < 20; cause = cause.getCause()) {
                causes.add(List.of(cause.getClass().getName(), String.valueOf(cause.getMessage())));
            }
            Map<String, Object> end = new HashMap<>();
            end.put("success", success);
            end.put("message", String.valueOf(message));
            end.put("causes", causes);
            send('E', new ObjectMapper().writeValueAsBytes(end));
        } catch (IOException gone) {
            Runtime.getRuntime().halt(0);
        }
    }

    private void send(char kind, byte[] body) throws IOException {
        out.write(buffer(kind, body.length).put(body).array());
    }

    private static ByteBuffer buffer(char kind, int length) {
        return ByteBuffer.allocate(5 + length).order(ByteOrder.nativeOrder()).putInt(length).put((byte) kind);
    }
}
