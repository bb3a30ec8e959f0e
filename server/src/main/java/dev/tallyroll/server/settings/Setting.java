package dev.tallyroll.server.settings;

import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;

/**
 * What a server can be told. Each is an option of {@code serve}, a key of its file and a variable
 * of the environment.
 */
public enum Setting {
  /** Where all endpoints are. */
  LISTEN(
      "listen", "127.0.0.1:8080", "HOST:PORT", "where all endpoints are; port 0 takes a free one"),
  /** Where {@code /v1/traces} is too. */
  OTLP_LISTEN(
      "otlp.listen",
      "127.0.0.1:4318",
      "HOST:PORT",
      "where /v1/traces is too, as OpenTelemetry's exporters expect it; none for nowhere"),
  /** Connections as the application role. */
  DATABASE_URL(
      "database.url",
      "",
      "URL",
      "the database, as the role that servers log in as: postgresql://user[:password]@host:port/database (default: the embedded PostgreSQL in --data-dir)"),
  /** Connections as the installer. */
  OWNER_URL(
      "owner.url",
      "",
      "URL",
      "connections as the role that owns the schema tallyroll: for migrations, refreshes, retention and administration; without it another server or a watch does these"),
  /** Which spans become events. */
  INGEST_SPANS(
      "ingest.spans",
      "genai",
      "genai|all",
      "which spans become events; the others are acknowledged and counted in a metric"),
  /** How long keys are remembered. */
  DEDUP_KEEP(
      "dedup.keep",
      "35d",
      "DAYS",
      "how old an event may be; its key is remembered for two days longer"),
  /** How long events stay. */
  EVENTS_KEEP(
      "events.keep",
      "90d",
      "DAYS",
      "how long the shipped definitions keep the rows of the event log; rollups stay longer"),
  /** The largest body. */
  INGEST_MAX_BODY("ingest.max-body", "64MiB", "SIZE", "the largest body, after decompression"),
  /** The most events in a batch. */
  INGEST_MAX_EVENTS("ingest.max-events", "10000", "COUNT", "the most events or spans in a request"),
  /** How deep JSON may be nested. */
  INGEST_MAX_DEPTH(
      "ingest.max-depth", "32", "COUNT", "how deep arrays and objects of an event may be nested"),
  /** The most attributes. */
  INGEST_MAX_ATTRIBUTES("ingest.max-attributes", "128", "COUNT", "the most attributes of an event"),
  /** The largest attribute. */
  INGEST_MAX_ATTRIBUTE(
      "ingest.max-attribute", "4KiB", "SIZE", "the largest value of an attribute, as JSON"),
  /** The longest id. */
  INGEST_MAX_ID("ingest.max-id", "512", "BYTES", "the longest id, and the longest source"),
  /** The rate of each tenant. */
  INGEST_RATE(
      "ingest.rate",
      "0",
      "COUNT",
      "the most events a second of each tenant on this server, two seconds of it at once; 0 for no limit"),
  /** The bytes in flight. */
  INGEST_MAX_IN_FLIGHT(
      "ingest.max-in-flight",
      "",
      "SIZE",
      "the most bytes of bodies that are being read or wait for their commit (default: an eighth of the heap)"),
  /** The deadline of a body. */
  INGEST_BODY_DEADLINE(
      "ingest.body-deadline", "30s", "DURATION", "how long a client may take to send a body"),
  /** How many connections commit. */
  INGEST_COMMITTERS(
      "ingest.committers", "2", "COUNT", "how many connections append to the event log"),
  /** How many connections answer. */
  QUERY_CONNECTIONS("query.connections", "8", "COUNT", "how many connections answer queries"),
  /** The time between refreshes. */
  REFRESH_INTERVAL(
      "refresh.interval", "1s", "DURATION", "the time from one refresh of a rollup to the next"),
  /** How long entries of the quarantine stay. */
  QUARANTINE_KEEP(
      "quarantine.keep",
      "30d",
      "DAYS",
      "how long spans that could not be counted stay in quarantine"),
  /** How many entries of the quarantine stay. */
  QUARANTINE_MAX(
      "quarantine.max", "10000", "COUNT", "how many of them stay of each tenant, the newest"),
  /** How many tenants have metrics of their own. */
  METRICS_TENANTS(
      "metrics.tenants",
      "0",
      "COUNT",
      "how many tenants have metrics of their own; the others are told together"),
  /** The deadline of a stop. */
  SHUTDOWN_DEADLINE(
      "shutdown.deadline",
      "20s",
      "DURATION",
      "how long requests that run may take to end when the server is told to stop");

  private final String key;
  private final String byDefault;
  private final String form;
  private final String description;

  Setting(String key, String byDefault, String form, String description) {
    this.key = key;
    this.byDefault = byDefault;
    this.form = form;
    this.description = description;
  }

  /** Its key in a file. */
  public String key() {
    return key;
  }

  /** What holds if nothing is said; empty for none. */
  public String byDefault() {
    return byDefault;
  }

  /** What its values look like. */
  public String form() {
    return form;
  }

  /** What it is for. */
  public String description() {
    return description;
  }

  /** Its option, as {@code --ingest-max-body}. */
  public String option() {
    return "--" + key.replace('.', '-');
  }

  /** Its variable of the environment, as {@code TALLYROLL_INGEST_MAX_BODY}. */
  public String variable() {
    return "TALLYROLL_" + key.toUpperCase(Locale.ROOT).replace('.', '_').replace('-', '_');
  }

  /** The setting of a key. */
  public static Optional<Setting> of(String key) {
    return Arrays.stream(values()).filter(setting -> setting.key.equals(key)).findFirst();
  }
}
