package cdc;

import java.nio.ByteBuffer;
import java.nio.charset.StandardCharsets;
import java.util.Map;
import java.util.Set;
import org.apache.kafka.connect.runtime.WorkerConfig;
import org.apache.kafka.connect.storage.MemoryOffsetBackingStore;

/** An offset store that holds what `cdc.offset.key` and `cdc.offset.value` (JSON texts) say, and forgets the rest. */
public final class GivenOffset extends MemoryOffsetBackingStore {
    private Map<String, String> given = Map.of();

    @Override
    public void configure(WorkerConfig config) {
        super.configure(config);
        given = config.originalsStrings();
    }

    @Override
    public void start() {
        super.start();
        String key = given.get("cdc.offset.key");
        if (key != null) {
            data.put(bytes(key), bytes(given.get("cdc.offset.value")));
        }
    }

    @Override
    public Set<Map<String, Object>> connectorPartitions(String connector) {
        return Set.of();
    }

    private static ByteBuffer bytes(String text) {
        return ByteBuffer.wrap(text.getBytes(StandardCharsets.UTF_8));
    }
}
