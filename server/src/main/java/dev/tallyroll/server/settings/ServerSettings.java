package dev.tallyroll.server.settings;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.Names;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.model.event.EventLimits;
import java.time.Duration;
import java.util.Arrays;
import java.util.EnumMap;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.Optional;
import java.util.function.Function;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.jspecify.annotations.Nullable;
import org.snakeyaml.engine.v2.api.Load;
import org.snakeyaml.engine.v2.api.LoadSettings;
import org.snakeyaml.engine.v2.exceptions.MarkedYamlEngineException;
import org.snakeyaml.engine.v2.exceptions.YamlEngineException;

/**
 * The settings of a server, checked. An option counts before the environment, that before the file,
 * that before the default. Immutable.
 *
 * @param listen where all endpoints are
 * @param otlpListen where traces are taken in too
 * @param databaseUrl connections as the application role; empty for the embedded server
 * @param ownerUrl connections as the installer
 * @param allSpans whether spans that are not of generative AI become events
 * @param limits what an event may be
 * @param eventsKeep days that the event log is kept
 * @param maxBody bytes of a body
 * @param maxEvents events of a request
 * @param rate events a second of a tenant; 0 for any
 * @param maxInFlight bytes of bodies at once
 * @param bodyDeadline how long a body may take
 * @param committers connections that append
 * @param queryConnections connections that answer
 * @param refreshInterval the time between refreshes
 * @param quarantineKeep how long the quarantine is kept
 * @param quarantineMax how many entries of a tenant are kept
 * @param metricsTenants how many tenants have metrics of their own
 * @param shutdownDeadline how long a stop may take
 */
public record ServerSettings(
    Address listen,
    Optional<Address> otlpListen,
    Optional<String> databaseUrl,
    Optional<String> ownerUrl,
    boolean allSpans,
    EventLimits limits,
    int eventsKeep,
    int maxBody,
    int maxEvents,
    long rate,
    long maxInFlight,
    Duration bodyDeadline,
    int committers,
    int queryConnections,
    Duration refreshInterval,
    Duration quarantineKeep,
    int quarantineMax,
    int metricsTenants,
    Duration shutdownDeadline) {
  private static final Pattern SIZE = Pattern.compile("([0-9]{1,12})(B|KiB|MiB|GiB)?");
  private static final Pattern DURATION = Pattern.compile("([0-9]{1,9})(ms|s|m|h|d)");
  private static final Pattern DAYS = Pattern.compile("([0-9]{1,5})d");

  /**
   * An address to listen on.
   *
   * @param host a name or an address
   * @param port the port; 0 for a free one
   */
  public record Address(String host, int port) {
    @Override
    public String toString() {
      return (host.contains(":") ? "[" + host + "]" : host) + ":" + port;
    }
  }

  /**
   * Reads settings.
   *
   * @param options by setting, what was given as an option
   * @param environment the environment's variables
   * @param fileName the file's name for messages; null for none
   * @param file the file's text
   * @throws TallyrollException if a value is none, naming where it stands
   */
  public static ServerSettings of(
      Map<Setting, String> options,
      Map<String, String> environment,
      @Nullable String fileName,
      String file) {
    Map<Setting, Given> given = new EnumMap<>(Setting.class);
    for (Setting setting : Setting.values()) {
      given.put(setting, new Given(setting.byDefault(), setting.key()));
    }
    if (fileName != null) {
      read(fileName, file).forEach(given::put);
    }
    for (Setting setting : Setting.values()) {
      String variable = environment.get(setting.variable());
      if (variable != null && !variable.isEmpty()) {
        given.put(setting, new Given(variable, setting.variable()));
      }
    }
    options.forEach((setting, value) -> given.put(setting, new Given(value, setting.option())));
    return new Reader(given).read();
  }

  /** The settings of a server that is told nothing. */
  public static ServerSettings defaults() {
    return of(Map.of(), Map.of(), null, "");
  }

  private record Given(String value, String where) {}

  private static Map<Setting, Given> read(String fileName, String text) {
    Object root;
    try {
      root = new Load(LoadSettings.builder().setLabel(fileName).build()).loadFromString(text);
    } catch (MarkedYamlEngineException e) {
      throw new TallyrollException(
          ErrorCode.USAGE,
          fileName
              + e.getProblemMark()
                  .map(mark -> ":" + (mark.getLine() + 1) + ":" + (mark.getColumn() + 1))
                  .orElse("")
              + ": not YAML: "
              + e.getProblem(),
          e);
    } catch (YamlEngineException e) {
      throw new TallyrollException(ErrorCode.USAGE, fileName + ": not YAML", e);
    }
    Map<Setting, Given> given = new EnumMap<>(Setting.class);
    Map<String, String> flat = new LinkedHashMap<>();
    if (root != null) {
      flatten(fileName, "", root, flat);
    }
    flat.forEach((key, value) -> {
      Setting setting =
          Setting.of(key)
              .orElseThrow(() ->
                  new TallyrollException(
                      ErrorCode.USAGE,
                      fileName
                          + ": no setting '"
                          + key
                          + "'"
                          + Names.didYouMean(
                              key, Arrays.stream(Setting.values()).map(Setting::key).toList())));
      given.put(setting, new Given(value, fileName + ": " + key));
    });
    return given;
  }

  private static void flatten(String file, String prefix, Object node, Map<String, String> flat) {
    if (node instanceof Map<?, ?> map) {
      map.forEach((key, value) ->
          flatten(file, prefix.isEmpty() ? "" + key : prefix + "." + key, value, flat));
    } else if (prefix.isEmpty() || node instanceof Iterable) {
      throw new TallyrollException(
          ErrorCode.USAGE, file + ": settings are pairs, as 'listen: 127.0.0.1:8080'");
    } else {
      flat.put(prefix, String.valueOf(node));
    }
  }

  /** Reads values, naming where each stands. */
  private record Reader(Map<Setting, Given> given) {
    ServerSettings read() {
      int dedup = days(Setting.DEDUP_KEEP, 3_650);
      if (days(Setting.EVENTS_KEEP, 36_500) < dedup) {
        throw fault(Setting.EVENTS_KEEP, "from dedup.keep (" + dedup + "d) on");
      }
      return new ServerSettings(
          address(Setting.LISTEN),
          value(Setting.OTLP_LISTEN).equals("none")
              ? Optional.empty()
              : Optional.of(address(Setting.OTLP_LISTEN)),
          Optional.of(value(Setting.DATABASE_URL)).filter(url -> !url.isEmpty()),
          Optional.of(value(Setting.OWNER_URL)).filter(url -> !url.isEmpty()),
          switch (value(Setting.INGEST_SPANS)) {
            case "genai" -> false;
            case "all" -> true;
            default -> throw fault(Setting.INGEST_SPANS);
          },
          new EventLimits(
              (int) whole(Setting.INGEST_MAX_ID, 16, 2_000),
              EventLimits.DEFAULT.textBytes(),
              (int) whole(Setting.INGEST_MAX_ATTRIBUTES, 1, 10_000),
              (int) size(Setting.INGEST_MAX_ATTRIBUTE, 64, 1 << 20),
              (int) whole(Setting.INGEST_MAX_DEPTH, 3, 200),
              Duration.ofDays(dedup),
              EventLimits.DEFAULT.ahead()),
          days(Setting.EVENTS_KEEP, 36_500),
          (int) size(Setting.INGEST_MAX_BODY, 1 << 10, 1 << 30),
          (int) whole(Setting.INGEST_MAX_EVENTS, 1, 1_000_000),
          whole(Setting.INGEST_RATE, 0, 1_000_000_000),
          value(Setting.INGEST_MAX_IN_FLIGHT).isEmpty()
              ? Runtime.getRuntime().maxMemory() / 8
              : size(Setting.INGEST_MAX_IN_FLIGHT, 1 << 20, 1L << 40),
          duration(Setting.INGEST_BODY_DEADLINE, Duration.ofMillis(100), Duration.ofHours(1)),
          (int) whole(Setting.INGEST_COMMITTERS, 1, 64),
          (int) whole(Setting.QUERY_CONNECTIONS, 1, 200),
          duration(Setting.REFRESH_INTERVAL, Duration.ofMillis(100), Duration.ofHours(1)),
          Duration.ofDays(days(Setting.QUARANTINE_KEEP, 3_650)),
          (int) whole(Setting.QUARANTINE_MAX, 0, 10_000_000),
          (int) whole(Setting.METRICS_TENANTS, 0, 1_000),
          duration(Setting.SHUTDOWN_DEADLINE, Duration.ZERO, Duration.ofHours(1)));
    }

    private Given of(Setting setting) {
      Given found = given.get(setting);
      if (found == null) {
        throw new IllegalStateException("no default of " + setting);
      }
      return found;
    }

    private String value(Setting setting) {
      return of(setting).value().strip();
    }

    private TallyrollException fault(Setting setting) {
      return fault(setting, "");
    }

    private TallyrollException fault(Setting setting, String range) {
      return new TallyrollException(
          ErrorCode.USAGE,
          of(setting).where()
              + ": '"
              + value(setting)
              + "' is no "
              + setting.form()
              + (range.isEmpty() ? "" : " " + range)
              + ": "
              + setting.description());
    }

    private Address address(Setting setting) {
      String text = value(setting);
      int colon = text.lastIndexOf(':');
      String host = colon < 1 ? "" : text.substring(0, colon);
      if (host.startsWith("[") && host.endsWith("]")) {
        host = host.substring(1, host.length() - 1);
      }
      String port = text.substring(colon + 1);
      if (host.isBlank() || !port.matches("[0-9]{1,5}") || Integer.parseInt(port) > 65_535) {
        throw fault(setting, "as " + setting.byDefault());
      }
      return new Address(host, Integer.parseInt(port));
    }

    private long whole(Setting setting, long least, long most) {
      String text = value(setting);
      return checked(
          setting,
          text.matches("[0-9]{1,12}") ? Long.parseLong(text) : -1,
          least,
          most,
          n -> "" + n);
    }

    private long checked(
        Setting setting, long value, long least, long most, Function<Long, String> shown) {
      if (value < least || value > most) {
        throw fault(setting, "from " + shown.apply(least) + " to " + shown.apply(most));
      }
      return value;
    }

    private int days(Setting setting, int most) {
      Matcher days = DAYS.matcher(value(setting));
      return (int)
          checked(
              setting, days.matches() ? Long.parseLong(days.group(1)) : -1, 1, most, n -> n + "d");
    }

    private long size(Setting setting, long least, long most) {
      Matcher size = SIZE.matcher(value(setting));
      long bytes = -1;
      if (size.matches()) {
        String unit = size.group(2) == null ? "B" : size.group(2);
        bytes =
            Long.parseLong(size.group(1))
                * switch (unit) {
                  case "KiB" -> 1L << 10;
                  case "MiB" -> 1L << 20;
                  case "GiB" -> 1L << 30;
                  default -> 1L;
                };
      }
      return checked(setting, bytes, least, most, n -> n + "B");
    }

    private Duration duration(Setting setting, Duration least, Duration most) {
      Matcher matcher = DURATION.matcher(value(setting));
      if (!matcher.matches()) {
        throw fault(setting, "as " + setting.byDefault());
      }
      long number = Long.parseLong(matcher.group(1));
      Duration duration =
          switch (matcher.group(2)) {
            case "ms" -> Duration.ofMillis(number);
            case "s" -> Duration.ofSeconds(number);
            case "m" -> Duration.ofMinutes(number);
            case "h" -> Duration.ofHours(number);
            default -> Duration.ofDays(number);
          };
      checked(setting, duration.toMillis(), least.toMillis(), most.toMillis(), n -> n + "ms");
      return duration;
    }
  }
}
