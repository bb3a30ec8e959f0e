package dev.tallyroll.server.otlp;

import com.google.protobuf.CodedInputStream;
import com.google.protobuf.Descriptors.Descriptor;
import com.google.protobuf.Descriptors.FieldDescriptor;
import com.google.protobuf.InvalidProtocolBufferException;
import com.google.protobuf.WireFormat;
import java.io.IOException;

/**
 * Counts the messages within a message before any of them is made: an empty one takes two bytes of
 * a body, and many times as much as an object.
 */
final class OtlpSize {
  /** Of ten thousand spans with 128 attributes each there are fewer. */
  static final int MOST_MESSAGES = 3_000_000;

  static final String TOO_MANY = "more than " + MOST_MESSAGES + " messages";

  private static final int MOST_DEPTH = 64;

  private int messages;

  private OtlpSize() {}

  /**
   * Checks a message.
   *
   * @throws InvalidProtocolBufferException if it is none, is nested too deep or holds too many
   */
  static void check(CodedInputStream in, Descriptor type) throws IOException {
    new OtlpSize().count(in, type, 0);
  }

  private void count(CodedInputStream in, Descriptor type, int depth) throws IOException {
    if (depth > MOST_DEPTH) {
      throw new InvalidProtocolBufferException("nested deeper than " + MOST_DEPTH);
    }
    for (int tag = in.readTag(); tag != 0; tag = in.readTag()) {
      FieldDescriptor field = type.findFieldByNumber(WireFormat.getTagFieldNumber(tag));
      if (field == null
          || field.getJavaType() != FieldDescriptor.JavaType.MESSAGE
          || WireFormat.getTagWireType(tag) != WireFormat.WIRETYPE_LENGTH_DELIMITED) {
        in.skipField(tag);
        continue;
      }
      if (++messages > MOST_MESSAGES) {
        throw new InvalidProtocolBufferException(TOO_MANY);
      }
      int limit = in.pushLimit(in.readRawVarint32());
      count(in, field.getMessageType(), depth + 1);
      in.checkLastTagWas(0);
      in.popLimit(limit);
    }
  }
}
