package dev.tallyroll.server.http;

import jakarta.servlet.http.HttpServletRequest;
import java.io.EOFException;
import java.io.FilterInputStream;
import java.io.IOException;
import java.io.InputStream;
import java.net.SocketTimeoutException;
import java.time.Duration;
import java.util.Arrays;
import java.util.Locale;
import java.util.zip.GZIPInputStream;
import java.util.zip.ZipException;

/**
 * Reads bodies, decompressed, within limits of size, of time, and of the bytes in flight. What it
 * has read so far is all that a slow client holds. Thread-safe.
 */
public final class Bodies {
  private static final int FIRST = 8 << 10;

  private final int maxBytes;
  private final Duration deadline;
  private final InFlight inFlight;

  /**
   * With limits.
   *
   * @param maxBytes the largest body after decompression
   * @param deadline how long a client may take
   */
  public Bodies(int maxBytes, Duration deadline, InFlight inFlight) {
    this.maxBytes = maxBytes;
    this.deadline = deadline;
    this.inFlight = inFlight;
  }

  /** A body that was read; its bytes are in flight until it is closed. For one thread. */
  public final class Body implements AutoCloseable {
    private byte[] bytes = new byte[0];
    private int length;
    private long taken;
    private long held;

    private Body() {}

    /**
     * Counts what was made of the body among the bytes in flight too.
     *
     * @param size how many bytes that are by now
     * @throws ProblemException if they are more than a body may have, or too many with all others
     */
    public void hold(long size) {
      if (size > maxBytes) {
        throw new ProblemException(
            Problem.TOO_LARGE,
            "what the body holds takes more than " + maxBytes + " bytes when it is stored");
      }
      if (size > held) {
        inFlight.take(size - held);
        held = size;
      }
    }

    /** The bytes, of which {@link #length} are the body's. */
    public byte[] bytes() {
      return bytes;
    }

    /** How many bytes it has. */
    public int length() {
      return length;
    }

    private void grow(int size) {
      inFlight.take(size - taken);
      taken = size;
      bytes = Arrays.copyOf(bytes, size);
    }

    @Override
    public void close() {
      inFlight.give(taken + held);
      taken = 0;
      held = 0;
    }
  }

  /**
   * Reads the body of a request; the caller closes it.
   *
   * @throws ProblemException if it is too large, too slow, or not what its encoding says
   * @throws IOException if the client is gone
   */
  public Body read(HttpServletRequest request) throws IOException {
    if (request.getContentLengthLong() > maxBytes) {
      throw tooLarge();
    }
    Body body = new Body();
    try {
      fill(body, request);
      return body;
    } catch (IOException | RuntimeException e) {
      body.close();
      throw e;
    }
  }

  private void fill(Body body, HttpServletRequest request) throws IOException {
    String encoding = request.getHeader("Content-Encoding");
    boolean isZipped =
        encoding != null && encoding.strip().toLowerCase(Locale.ROOT).matches("(x-)?gzip");
    if (!isZipped && encoding != null && !encoding.strip().matches("(?i)|identity")) {
      throw new ProblemException(
          Problem.UNSUPPORTED_MEDIA_TYPE, "Content-Encoding is gzip or identity");
    }
    // What is said to come takes no more than this before it has come; with a byte more its end is
    // seen without growing.
    long said = isZipped ? -1 : request.getContentLengthLong();
    int first = said < 0 || said >= FIRST ? FIRST : (int) said + 1;
    long end = System.nanoTime() + deadline.toNanos();
    try (InputStream plain = new Timed(request.getInputStream(), end);
        InputStream in = isZipped ? new GZIPInputStream(plain, FIRST) : plain) {
      while (true) {
        if (body.length == body.bytes.length) {
          if (body.length == maxBytes) {
            if (in.read() >= 0) {
              throw tooLarge();
            }
            return;
          }
          body.grow((int) Math.min(maxBytes, Math.max(first, 2L * body.length)));
        }
        int read = in.read(body.bytes, body.length, body.bytes.length - body.length);
        if (read < 0) {
          return;
        }
        body.length += read;
      }
    } catch (ZipException e) {
      throw new ProblemException(Problem.BAD_REQUEST, "the body is not gzip");
    } catch (EOFException e) {
      throw new ProblemException(Problem.BAD_REQUEST, "the body ends too early");
    } catch (IOException e) {
      for (Throwable cause = e; cause != null; cause = cause.getCause()) {
        if (cause instanceof SocketTimeoutException) {
          throw late();
        }
      }
      throw e;
    }
  }

  private ProblemException tooLarge() {
    return new ProblemException(
        Problem.TOO_LARGE, "a body has at most " + maxBytes + " bytes after decompression");
  }

  private ProblemException late() {
    return new ProblemException(
        Problem.BODY_TIMEOUT, "a body must come within " + deadline.toMillis() + " ms");
  }

  /** Looks at the clock between reads, each of which ends by the connection's own timeout. */
  private final class Timed extends FilterInputStream {
    private final long end;

    Timed(InputStream in, long end) {
      super(in);
      this.end = end;
    }

    @Override
    public int read() throws IOException {
      check();
      return super.read();
    }

    @Override
    public int read(byte[] into, int start, int most) throws IOException {
      check();
      return super.read(into, start, most);
    }

    private void check() {
      if (System.nanoTime() - end > 0) {
        throw late();
      }
    }
  }
}
