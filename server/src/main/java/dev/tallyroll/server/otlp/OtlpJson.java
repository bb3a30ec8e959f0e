package dev.tallyroll.server.otlp;

import com.google.protobuf.ByteString;
import com.google.protobuf.Descriptors.EnumValueDescriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.Message;
import java.util.Base64;
import java.util.HashMap;
import java.util.HexFormat;
import java.util.Map;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import tools.jackson.core.JsonParser;
import tools.jackson.core.JsonToken;

/**
 * Reads messages of OpenTelemetry's protocol from their JSON form, from a stream. It is that of
 * protocol buffers but for ids, which are hexadecimal digits, and enums, which are numbers. 64-bit
 * integers may be texts or numbers; unknown members are passed over. For one message.
 *
 * <p>Source: OpenTelemetry Protocol 1.5, "JSON Protobuf Encoding"; Protocol Buffers, "ProtoJSON
 * Format".
 */
final class OtlpJson {
  private static final Set<String> HEXADECIMAL = Set.of("trace_id", "span_id", "parent_span_id");
  private static final Map<com.google.protobuf.Descriptors.Descriptor, Map<String, FieldDescriptor>>
      FIELDS = new ConcurrentHashMap<>();

  private int messages;

  /** A body that is not such a message. */
  static final class Malformed extends RuntimeException {
    private static final long serialVersionUID = 1L;

    Malformed(String message) {
      super(message, null, false, false);
    }
  }

  /**
   * Merges the object that the parser stands at the start of into a message.
   *
   * @throws Malformed if a member has a value of another kind than the message's field
   */
  void merge(JsonParser parser, Message.Builder into) {
    if (++messages > OtlpSize.MOST_MESSAGES) {
      throw new Malformed(OtlpSize.TOO_MANY);
    }
    if (parser.currentToken() != JsonToken.START_OBJECT) {
      throw new Malformed("an object is expected for " + into.getDescriptorForType().getName());
    }
    Map<String, FieldDescriptor> fields =
        FIELDS.computeIfAbsent(
            into.getDescriptorForType(),
            type -> {
              Map<String, FieldDescriptor> names = new HashMap<>();
              for (FieldDescriptor field : type.getFields()) {
                names.put(field.getName(), field);
                names.put(field.getJsonName(), field);
              }
              return names;
            });
    while (parser.nextToken() != JsonToken.END_OBJECT) {
      FieldDescriptor field = fields.get(parser.currentName());
      JsonToken token = parser.nextToken();
      if (field == null) {
        parser.skipChildren();
      } else if (token != JsonToken.VALUE_NULL && !field.isRepeated()) {
        into.setField(field, value(parser, field, into));
      } else if (token != JsonToken.VALUE_NULL) {
        if (token != JsonToken.START_ARRAY) {
          throw new Malformed("an array is expected for " + field.getJsonName());
        }
        while (parser.nextToken() != JsonToken.END_ARRAY) {
          into.addRepeatedField(field, value(parser, field, into));
        }
      }
    }
  }

  private Object value(JsonParser parser, FieldDescriptor field, Message.Builder into) {
    JsonToken token = parser.currentToken();
    try {
      return switch (field.getJavaType()) {
        case MESSAGE -> {
          Message.Builder nested = into.newBuilderForField(field);
          merge(parser, nested);
          yield nested.build();
        }
        case STRING -> text(parser, field);
        case BOOLEAN -> {
          if (!token.isBoolean()) {
            throw expected("a boolean", field);
          }
          yield token == JsonToken.VALUE_TRUE;
        }
        case LONG ->
            field.getType() == FieldDescriptor.Type.FIXED64
                    || field.getType() == FieldDescriptor.Type.UINT64
                ? (Object) Long.parseUnsignedLong(scalar(parser, field))
                : (Object) Long.parseLong(scalar(parser, field));
        case INT ->
            field.getType() == FieldDescriptor.Type.FIXED32
                    || field.getType() == FieldDescriptor.Type.UINT32
                ? (Object) Integer.parseUnsignedInt(scalar(parser, field))
                : (Object) Integer.parseInt(scalar(parser, field));
        case DOUBLE -> Double.parseDouble(scalar(parser, field));
        case FLOAT -> Float.parseFloat(scalar(parser, field));
        case BYTE_STRING -> {
          String text = text(parser, field);
          yield ByteString.copyFrom(
              HEXADECIMAL.contains(field.getName())
                  ? HexFormat.of().parseHex(text)
                  : Base64.getDecoder().decode(text.replace('-', '+').replace('_', '/')));
        }
        case ENUM -> enumValue(parser, field);
      };
    } catch (IllegalArgumentException e) {
      throw expected("a " + field.getType().name().toLowerCase(java.util.Locale.ROOT), field);
    }
  }

  private static EnumValueDescriptor enumValue(JsonParser parser, FieldDescriptor field) {
    if (parser.currentToken() == JsonToken.VALUE_NUMBER_INT) {
      return field.getEnumType().findValueByNumberCreatingIfUnknown(parser.getIntValue());
    }
    EnumValueDescriptor named = field.getEnumType().findValueByName(text(parser, field));
    if (named == null) {
      throw expected("a number of an enum", field);
    }
    return named;
  }

  private static String text(JsonParser parser, FieldDescriptor field) {
    if (parser.currentToken() != JsonToken.VALUE_STRING) {
      throw expected("a text", field);
    }
    return parser.getString();
  }

  private static String scalar(JsonParser parser, FieldDescriptor field) {
    JsonToken token = parser.currentToken();
    if (!token.isNumeric() && token != JsonToken.VALUE_STRING) {
      throw expected("a number", field);
    }
    return parser.getString();
  }

  private static Malformed expected(String what, FieldDescriptor field) {
    return new Malformed(what + " is expected for " + field.getJsonName());
  }
}
