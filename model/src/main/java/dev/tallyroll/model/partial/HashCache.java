package dev.tallyroll.model.partial;

import dev.tallyroll.model.Sha256;
import java.security.MessageDigest;
import java.util.Arrays;
import org.jspecify.annotations.Nullable;

/**
 * Hashes values for distinct counts: the first 8 bytes of the SHA-256 (FIPS 180-4) of the UTF-8
 * text, as PostgreSQL's {@code sha256} computes it. Values repeat, so the last ones are remembered.
 * For one thread.
 */
final class HashCache {
  private static final int SLOTS = 1 << 14;
  private static final int LONGEST = 128;

  private final MessageDigest digest = Sha256.newDigest();
  private final byte[] @Nullable [] values = new byte[SLOTS][];
  private final long[] hashes = new long[SLOTS];

  long hash(byte[] bytes, int offset, int length) {
    if (length > LONGEST) {
      return compute(bytes, offset, length);
    }
    int code = 0;
    for (int i = offset; i < offset + length; i++) {
      code = 31 * code + bytes[i];
    }
    int slot = (code ^ (code >>> 14)) & (SLOTS - 1);
    byte[] held = values[slot];
    if (held != null && Arrays.equals(held, 0, held.length, bytes, offset, offset + length)) {
      return hashes[slot];
    }
    long hash = compute(bytes, offset, length);
    values[slot] = Arrays.copyOfRange(bytes, offset, offset + length);
    hashes[slot] = hash;
    return hash;
  }

  private long compute(byte[] bytes, int offset, int length) {
    digest.update(bytes, offset, length);
    byte[] hash = digest.digest();
    long first = 0;
    for (int i = 0; i < Long.BYTES; i++) {
      first = (first << 8) | (hash[i] & 0xff);
    }
    return first;
  }
}
