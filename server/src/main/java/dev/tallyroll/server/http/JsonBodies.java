package dev.tallyroll.server.http;

import tools.jackson.core.JsonParser;
import tools.jackson.core.ObjectReadContext;
import tools.jackson.core.StreamReadConstraints;
import tools.jackson.core.json.JsonFactory;

/** Reads bodies as JSON, from a stream and within limits. Thread-safe. */
public final class JsonBodies {
  /** The most characters of a number. */
  public static final int MOST_DIGITS = 1_000;

  /** The most characters of a member's name. */
  public static final int MOST_NAME = 10_000;

  private final JsonFactory json;

  /**
   * With limits.
   *
   * @param depth how deep arrays and objects may be nested
   * @param maxBody the largest body, and so the longest text
   */
  public JsonBodies(int depth, int maxBody) {
    json =
        JsonFactory.builder()
            .streamReadConstraints(
                StreamReadConstraints.builder()
                    .maxNestingDepth(depth)
                    .maxNumberLength(MOST_DIGITS)
                    .maxNameLength(MOST_NAME)
                    .maxStringLength(maxBody)
                    .build())
            .build();
  }

  /** A parser before the first token of a body; the caller closes it before the body. */
  public JsonParser parser(Bodies.Body body) {
    return json.createParser(ObjectReadContext.empty(), body.bytes(), 0, body.length());
  }

  /** A parser before the first token of a text. */
  public JsonParser parser(String text) {
    return json.createParser(ObjectReadContext.empty(), text);
  }
}
