package dev.tallyroll.cli;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import java.net.URLDecoder;
import java.nio.charset.StandardCharsets;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.postgresql.ds.PGSimpleDataSource;

/**
 * A connection URI as libpq writes it: {@code
 * postgresql://user[:password]@host[:port]/database[?parameters]}. Without a password in it,
 * PGPASSWORD and then {@code .pgpass} are asked.
 *
 * @param text the URI as given
 * @param user the user; null for the one of the system
 * @param password the password, if the URI has one
 * @param rest host, port, database and parameters as the driver takes them
 */
record DatabaseUrl(String text, @Nullable String user, @Nullable String password, String rest) {
  private static final Pattern SHAPE =
      Pattern.compile("postgres(?:ql)?://(?:([^:@/]*)(?::([^@/]*))?@)?([^/?]+)/([^?]+)(\\?.*)?");

  static DatabaseUrl parse(String text) {
    Matcher match =
        SHAPE.matcher(text.startsWith("jdbc:") ? text.substring("jdbc:".length()) : text);
    if (!match.matches()) {
      throw wrong(text, "is written as postgresql://user[:password]@host:port/database");
    }
    String parameters = match.group(5) == null ? "" : match.group(5);
    return new DatabaseUrl(
        text,
        decoded(match.group(1)),
        decoded(match.group(2)),
        "jdbc:postgresql://" + checked(text, match.group(3)) + "/" + match.group(4) + parameters);
  }

  /** The driver would only log what is wrong with a port, and then fail. */
  private static String checked(String text, String hosts) {
    for (String host : hosts.split(",", -1)) {
      // An address in brackets has colons of its own.
      String rest = host.substring(host.lastIndexOf(']') + 1);
      int colon = rest.indexOf(':');
      String port = rest.substring(colon + 1);
      if (colon >= 0 && !(port.matches("[0-9]{1,5}") && isPort(Integer.parseInt(port)))) {
        throw wrong(text, "has a port from 1 to 65535");
      }
    }
    return hosts;
  }

  static boolean isPort(int port) {
    return 1 <= port && port <= 65_535;
  }

  private static @Nullable String decoded(@Nullable String part) {
    try {
      return part == null || part.isEmpty()
          ? null
          : URLDecoder.decode(part.replace("+", "%2B"), StandardCharsets.UTF_8);
    } catch (IllegalArgumentException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          "--database-url (or TALLYROLL_DATABASE_URL): in user and password a % is written as %25, and begins the two hexadecimal digits of another character",
          e);
    }
  }

  private static TallyrollException wrong(String text, String rule) {
    return new TallyrollException(
        ErrorCode.USAGE,
        "--database-url (or TALLYROLL_DATABASE_URL) " + rule + ", not '" + redact(text) + "'");
  }

  /** A URI as it was given, whatever it is, without its password. */
  static String redact(String text) {
    return text.replaceAll("://([^:@/]*):[^@/]*@", "://$1@");
  }

  /** The URI without its password. */
  String redacted() {
    return redact(text);
  }

  /** A new data source. */
  PGSimpleDataSource dataSource() {
    PGSimpleDataSource source = new PGSimpleDataSource();
    source.setURL(rest);
    source.setTcpKeepAlive(true);
    if (user != null) {
      source.setUser(user);
    }
    String secret = password != null ? password : System.getenv("PGPASSWORD");
    if (secret != null) {
      source.setPassword(secret);
    }
    return source;
  }
}
