package cdc;

import com.fasterxml.jackson.core.JsonFactory;
import com.fasterxml.jackson.core.JsonGenerator;
import java.io.ByteArrayOutputStream;
import java.io.IOException;
import java.math.BigDecimal;
import java.nio.ByteBuffer;
import java.util.Collection;
import java.util.Map;
import org.apache.kafka.connect.data.Date;
import org.apache.kafka.connect.data.Decimal;
import org.apache.kafka.connect.data.Field;
import org.apache.kafka.connect.data.Schema;
import org.apache.kafka.connect.data.Struct;
import org.apache.kafka.connect.data.Time;
import org.apache.kafka.connect.data.Timestamp;
import org.apache.kafka.connect.source.SourceRecord;

/** Connect's values as JSON without schemas, byte for byte what its JsonConverter means, straight into a buffer. */
final class Json {
    private final ByteArrayOutputStream bytes = new ByteArrayOutputStream(1 << 20);
    private final JsonGenerator json;

    Json() throws IOException {
        json = new JsonFactory().createGenerator(bytes).setRootValueSeparator(null);
    }

    /** Adds a value; returns how many bytes there are now. */
    int add(Schema schema, Object value) throws IOException {
        write(schema, value);
        json.flush();
        return bytes.size();
    }

    /** An update out of the delete and the create of a change of key; what is not `whole` has the key alone before. */
    int addKeyChange(SourceRecord left, SourceRecord right, boolean whole) throws IOException {
        Struct before = ((Struct) left.value()).getStruct("before");
        Struct update = (Struct) right.value();
        json.writeStartObject();
        for (Field field : update.schema().fields()) {
            json.writeFieldName(field.name());
            switch (field.name()) {
                case "before" -> {
                    json.writeStartObject();
                    for (Field column : before.schema().fields()) {
                        boolean known = whole || left.keySchema().field(column.name()) != null;
                        json.writeFieldName(column.name());
                        write(column.schema(), known ? before.get(column) : null);
                    }
                    json.writeEndObject();
                }
                case "op" -> json.writeString("u");
                default -> write(field.schema(), update.get(field));
            }
        }
        json.writeEndObject();
        json.flush();
        return bytes.size();
    }

    /** What was added since the last time. */
    byte[] take() {
        byte[] taken = bytes.toByteArray();
        bytes.reset();
        return taken;
    }

    private void write(Schema schema, Object value) throws IOException {
        if (value == null) {
            json.writeNull();
            return;
        }
        String logical = schema == null ? null : schema.name();
        if (value instanceof String text) {
            json.writeString(text);
        } else if (value instanceof Integer number) {
            json.writeNumber(number);
        } else if (value instanceof Long number) {
            json.writeNumber(number);
        } else if (value instanceof Boolean truth) {
            json.writeBoolean(truth);
        } else if (value instanceof Struct struct) {
            json.writeStartObject();
            for (Field field : struct.schema().fields()) {
                json.writeFieldName(field.name());
                write(field.schema(), struct.get(field));
            }
            json.writeEndObject();
        } else if (value instanceof Double number) {
            json.writeNumber(number);
        } else if (value instanceof Float number) {
            json.writeNumber(number);
        } else if (value instanceof Short number) {
            json.writeNumber(number);
        } else if (value instanceof Byte number) {
            json.writeNumber(number);
        } else if (value instanceof BigDecimal number) {
            json.writeBinary(Decimal.fromLogical(schema, number));
        } else if (value instanceof byte[] data) {
            json.writeBinary(data);
        } else if (value instanceof ByteBuffer buffer) {
            ByteBuffer view = buffer.duplicate();
            byte[] data = new byte[view.remaining()];
            view.get(data);
            json.writeBinary(data);
        } else if (value instanceof java.util.Date moment) {
            if (Date.LOGICAL_NAME.equals(logical)) {
                json.writeNumber(Date.fromLogical(schema, moment));
            } else if (Time.LOGICAL_NAME.equals(logical)) {
                json.writeNumber(Time.fromLogical(schema, moment));
            } else {
                json.writeNumber(Timestamp.fromLogical(schema, moment));
            }
        } else if (value instanceof Collection<?> list) {
            json.writeStartArray();
            for (Object element : list) {
                write(schema == null ? null : schema.valueSchema(), element);
            }
            json.writeEndArray();
        } else if (value instanceof Map<?, ?> map) {
            json.writeStartObject();
            for (Map.Entry<?, ?> entry : map.entrySet()) {
                json.writeFieldName(String.valueOf(entry.getKey()));
                write(schema == null ? null : schema.valueSchema(), entry.getValue());
            }
            json.writeEndObject();
        } else {
            throw new IOException("a value of class " + value.getClass().getName());
        }
    }
}
