package dev.tallyroll.model.partial;

import java.lang.invoke.MethodHandles;
import java.lang.invoke.VarHandle;
import java.nio.ByteOrder;
import java.util.Arrays;

/**
 * A set of keys, byte strings that each get a number from 0 on: tenant and dimensions as they come
 * from the database, compared without being decoded. Mutable, for one thread.
 */
public final class KeySet {
  private static final VarHandle LONGS =
      MethodHandles.byteArrayViewVarHandle(long[].class, ByteOrder.LITTLE_ENDIAN);

  private byte[] pool = new byte[1 << 12];
  private int[] starts = new int[65];
  private int size;

  /** Open addressing with linear probing: a key's number plus one, or 0. */
  private int[] slots = new int[256];

  private int[] hashes = new int[64];

  /** The number of a key, which is added if it is new. */
  public int intern(byte[] bytes, int offset, int length) {
    int hash = hash(bytes, offset, length);
    int mask = slots.length - 1;
    int slot = hash & mask;
    while (slots[slot] != 0) {
      int key = slots[slot] - 1;
      if (hashes[key] == hash
          && Arrays.equals(pool, starts[key], starts[key + 1], bytes, offset, offset + length)) {
        return key;
      }
      slot = (slot + 1) & mask;
    }
    return insert(slot, hash, bytes, offset, length);
  }

  /** The number of a key, or -1. */
  public int find(byte[] bytes, int offset, int length) {
    int hash = hash(bytes, offset, length);
    int mask = slots.length - 1;
    int slot = hash & mask;
    while (slots[slot] != 0) {
      int key = slots[slot] - 1;
      if (hashes[key] == hash
          && Arrays.equals(pool, starts[key], starts[key + 1], bytes, offset, offset + length)) {
        return key;
      }
      slot = (slot + 1) & mask;
    }
    return -1;
  }

  private int insert(int slot, int hash, byte[] bytes, int offset, int length) {
    int start = starts[size];
    int end = Math.addExact(start, length);
    if (end > pool.length) {
      pool =
          Arrays.copyOf(
              pool, (int) Math.min(Integer.MAX_VALUE - 8, Math.max(2L * pool.length, end)));
    }
    System.arraycopy(bytes, offset, pool, start, length);
    if (size == hashes.length) {
      hashes = Arrays.copyOf(hashes, size * 2);
      starts = Arrays.copyOf(starts, size * 2 + 1);
    }
    int key = size++;
    starts[size] = end;
    hashes[key] = hash;
    slots[slot] = size;
    if (size * 2 > slots.length) {
      rehash();
    }
    return key;
  }

  private void rehash() {
    slots = new int[slots.length * 4];
    int mask = slots.length - 1;
    for (int key = 0; key < size; key++) {
      int slot = hashes[key] & mask;
      while (slots[slot] != 0) {
        slot = (slot + 1) & mask;
      }
      slots[slot] = key + 1;
    }
  }

  private static int hash(byte[] bytes, int offset, int length) {
    long hash = length;
    int at = offset;
    int end = offset + length;
    for (; at + Long.BYTES <= end; at += Long.BYTES) {
      hash = (hash ^ (long) LONGS.get(bytes, at)) * 0x9E3779B97F4A7C15L;
      hash ^= hash >>> 32;
    }
    for (; at < end; at++) {
      hash = (hash ^ (bytes[at] & 0xff)) * 0x9E3779B97F4A7C15L;
      hash ^= hash >>> 32;
    }
    return (int) (hash ^ (hash >>> 29));
  }

  /** How many keys there are. */
  public int size() {
    return size;
  }

  /** A copy of a key's bytes. */
  public byte[] bytes(int key) {
    return Arrays.copyOfRange(pool, starts[key], starts[key + 1]);
  }

  /** The array that holds all keys; a key is at {@link #start} and has {@link #length} bytes. */
  public byte[] pool() {
    return pool;
  }

  /** Where a key begins in {@link #pool}. */
  public int start(int key) {
    return starts[key];
  }

  /** How many bytes a key has. */
  public int length(int key) {
    return starts[key + 1] - starts[key];
  }

  /** About how many bytes of heap it takes. */
  public long heapBytes() {
    return pool.length + 4L * (starts.length + hashes.length + slots.length);
  }
}
