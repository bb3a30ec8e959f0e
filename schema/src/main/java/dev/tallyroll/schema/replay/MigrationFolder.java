package dev.tallyroll.schema.replay;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import java.io.IOException;
import java.math.BigInteger;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.Files;
import java.nio.file.Path;
import java.util.ArrayList;
import java.util.Arrays;
import java.util.Comparator;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import java.util.stream.Stream;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * The migrations of a folder, in the order in which their runner applies them to a fresh database.
 *
 * @param layout which runner it is made for
 * @param migrations in order
 * @param notes what is to be known of its files: which are no migrations, or none for up, and why
 */
public record MigrationFolder(Layout layout, List<Migration> migrations, List<String> notes) {
  /** No migration that somebody writes is longer. */
  private static final long MOST_BYTES = 64L << 20;

  private static final Pattern FLYWAY = Pattern.compile("(V|R|U|B)([0-9][0-9._]*)?__.+\\.sql");

  private static final Pattern NUMBERED = Pattern.compile("[0-9].*\\.sql");
  private static final Pattern DOWN = Pattern.compile(".*[._-]down\\.sql");
  private static final Pattern STRAY = Pattern.compile("(test|verify)_.*\\.sql");

  /** For which runner a folder is made. */
  public enum Layout {
    /** Plain files, in the order of their names. */
    NUMBERED,
    /** {@code V1__name.sql}, {@code R__name.sql}. */
    FLYWAY,
    /**
     * Plain files in {@code supabase/migrations}, on a database with Supabase's roles and schemas.
     */
    SUPABASE,
    /** Files in the order of {@code meta/_journal.json}. */
    DRIZZLE,
    /** Folders with {@code migration.sql}. */
    PRISMA,
    /** {@code 1_name.up.sql}. */
    GOLANG_MIGRATE,
    /** Files with {@code -- migrate:up}. */
    DBMATE,
    /** Files with {@code -- +goose Up}. */
    GOOSE;

    @Override
    public String toString() {
      return name().toLowerCase(Locale.ROOT).replace('_', '-');
    }
  }

  /** Copies. */
  public MigrationFolder {
    migrations = List.copyOf(migrations);
    notes = List.copyOf(notes);
  }

  /**
   * Reads a folder.
   *
   * @param folder with the migrations
   * @param named for which runner; empty to recognise it
   * @throws TallyrollException if it cannot be read, or has no migration
   */
  public static MigrationFolder read(Path folder, Optional<Layout> named) {
    if (!Files.isDirectory(folder)) {
      throw new TallyrollException(ErrorCode.USAGE, "no folder " + folder + " with migrations");
    }
    try {
      List<Path> files;
      try (Stream<Path> walked = Files.walk(folder)) {
        files =
            walked
                .filter(Files::isRegularFile)
                .sorted(Comparator.comparing(file -> name(folder, file)))
                .toList();
      }
      MigrationFolder read = new Reader(folder, files).read(named);
      if (read.migrations().isEmpty()) {
        throw new TallyrollException(
            ErrorCode.USAGE, folder + " has no migration for " + read.layout());
      }
      return read;
    } catch (IOException e) {
      throw new TallyrollException(
          ErrorCode.USAGE, folder + " cannot be read: " + e.getMessage(), e);
    }
  }

  /**
   * The place of a migration in the order of its runner, as far as its name tells: all but
   * Drizzle's go by it.
   */
  public static Comparator<String> order(Layout layout) {
    return switch (layout) {
      case FLYWAY ->
          Comparator.comparing(MigrationFolder::isRepeatable)
              .thenComparing(MigrationFolder::version, Reader::compare)
              .thenComparing(Comparator.naturalOrder());
      case GOLANG_MIGRATE, GOOSE ->
          Comparator.comparing(MigrationFolder::version, Reader::compare)
              .thenComparing(Comparator.naturalOrder());
      case NUMBERED, SUPABASE, DRIZZLE, PRISMA, DBMATE -> Comparator.naturalOrder();
    };
  }

  /** Whether Flyway runs it again each time it changes, after all that have a version. */
  public static boolean isRepeatable(String name) {
    return name.substring(name.lastIndexOf('/') + 1).startsWith("R__");
  }

  /** The numbers of a version; none if the name has none. */
  public static List<BigInteger> version(String name) {
    Matcher version = VERSION.matcher(name.substring(name.lastIndexOf('/') + 1));
    return version.lookingAt()
        ? Arrays.stream(version.group(1).split("[._]+")).map(BigInteger::new).toList()
        : List.of();
  }

  private static final Pattern VERSION = Pattern.compile("[VB]?([0-9]+(?:[._][0-9]+)*)");

  private static String name(Path folder, Path file) {
    return folder.relativize(file).toString().replace('\\', '/');
  }

  private static final class Reader {
    private final Path folder;
    private final List<Path> files;
    private final List<Migration> migrations = new ArrayList<>();
    private final List<String> notes = new ArrayList<>();

    Reader(Path folder, List<Path> files) {
      this.folder = folder;
      this.files = files;
    }

    MigrationFolder read(Optional<Layout> named) throws IOException {
      Layout layout = named.isPresent() ? named.get() : recognised();
      switch (layout) {
        case NUMBERED, SUPABASE -> numbered();
        case FLYWAY -> flyway();
        case DRIZZLE -> drizzle();
        case PRISMA -> prisma();
        case GOLANG_MIGRATE -> golangMigrate();
        case DBMATE -> sections("-- migrate:up", "-- migrate:down");
        case GOOSE -> sections("-- +goose up", "-- +goose down");
      }
      return new MigrationFolder(layout, migrations, notes);
    }

    private Layout recognised() throws IOException {
      if (Files.exists(folder.resolve("meta/_journal.json"))) {
        return Layout.DRIZZLE;
      }
      if (files.stream().anyMatch(this::isPrisma)) {
        return Layout.PRISMA;
      }
      if (files.stream().anyMatch(file -> file.toString().endsWith(".up.sql"))) {
        return Layout.GOLANG_MIGRATE;
      }
      for (Path file : files) {
        if (file.toString().endsWith(".sql")) {
          String head = text(file).toLowerCase(Locale.ROOT);
          if (head.contains("-- migrate:up")) {
            return Layout.DBMATE;
          }
          if (head.contains("-- +goose up")) {
            return Layout.GOOSE;
          }
        }
      }
      if (files.stream().anyMatch(file -> FLYWAY.matcher(last(file)).matches())) {
        return Layout.FLYWAY;
      }
      Path absolute = folder.toAbsolutePath().normalize();
      Path parent = absolute.getParent();
      return parent != null && parent.endsWith("supabase") ? Layout.SUPABASE : Layout.NUMBERED;
    }

    private static String last(Path file) {
      return String.valueOf(file.getFileName());
    }

    private boolean isPrisma(Path file) {
      return last(file).equals("migration.sql") && folder.relativize(file).getNameCount() == 2;
    }

    /** Only the folder itself, as runners of plain files do; of files with numbers only those. */
    private void numbered() throws IOException {
      List<Path> here = files.stream().filter(file -> folder.equals(file.getParent())).toList();
      boolean areNumbered = here.stream().anyMatch(file -> NUMBERED.matcher(last(file)).matches());
      for (Path file : files) {
        String name = last(file);
        if (!folder.equals(file.getParent())) {
          passOver(file, "in a folder below");
        } else if (!name.endsWith(".sql")) {
          passOver(file, "not .sql");
        } else if (DOWN.matcher(name).matches()) {
          passOver(file, "for down");
        } else if (STRAY.matcher(name).matches()) {
          passOver(file, "a test");
        } else if (areNumbered && !NUMBERED.matcher(name).matches()) {
          passOver(file, "without a number");
        } else {
          add(file, text(file), true);
        }
      }
    }

    private record Versioned(Path file, List<BigInteger> version) {}

    /** Versions are compared number by number; what is repeatable comes last, by its name. */
    private void flyway() throws IOException {
      List<Versioned> versioned = new ArrayList<>();
      List<Versioned> baselines = new ArrayList<>();
      List<Path> repeatable = new ArrayList<>();
      for (Path file : files) {
        Matcher matcher = FLYWAY.matcher(last(file));
        if (last(file).endsWith(".sql.conf")) {
          // It is of the migration beside it.
          continue;
        }
        if (!matcher.matches()) {
          passOver(file, "no migration by its name");
        } else if (matcher.group(1).equals("R")) {
          repeatable.add(file);
        } else if (matcher.group(2) == null || matcher.group(1).equals("U")) {
          passOver(file, "for undo, or without a version");
        } else {
          List<BigInteger> version =
              Arrays.stream(matcher.group(2).split("[._]+")).map(BigInteger::new).toList();
          (matcher.group(1).equals("B") ? baselines : versioned).add(new Versioned(file, version));
        }
      }
      versioned.sort(Comparator.comparing(Versioned::version, Reader::compare));
      // On an empty database the last baseline stands for all up to its version.
      Optional<Versioned> baseline =
          baselines.stream().max(Comparator.comparing(Versioned::version, Reader::compare));
      for (Versioned each : baselines) {
        if (baseline.isPresent() && each.equals(baseline.get())) {
          addFlyway(each.file());
        } else {
          passOver(each.file(), "before the last baseline");
        }
      }
      for (Versioned each : versioned) {
        if (baseline.isPresent() && compare(each.version(), baseline.get().version()) <= 0) {
          passOver(each.file(), "in the baseline");
        } else {
          addFlyway(each.file());
        }
      }
      repeatable.sort(Comparator.comparing(Reader::last));
      for (Path file : repeatable) {
        addFlyway(file);
      }
    }

    private void addFlyway(Path file) throws IOException {
      String text = text(file);
      Matcher placeholder = PLACEHOLDER.matcher(text);
      if (placeholder.find()) {
        notes.add(
            name(folder, file) + ": the placeholder " + placeholder.group() + " has no value here");
      }
      Path settings = file.resolveSibling(last(file) + ".conf");
      boolean isAlone =
          Files.isRegularFile(settings)
              && text(settings).replaceAll("\\s", "").contains("executeInTransaction=false");
      add(file, text, !isAlone);
    }

    private static final Pattern PLACEHOLDER = Pattern.compile("\\$\\{\\w[\\w.:-]*\\}");

    private static int compare(List<BigInteger> one, List<BigInteger> other) {
      for (int i = 0; i < Math.max(one.size(), other.size()); i++) {
        BigInteger a = i < one.size() ? one.get(i) : BigInteger.ZERO;
        BigInteger b = i < other.size() ? other.get(i) : BigInteger.ZERO;
        if (!a.equals(b)) {
          return a.compareTo(b);
        }
      }
      return 0;
    }

    private void drizzle() throws IOException {
      Path journal = folder.resolve("meta/_journal.json");
      List<Path> listed = new ArrayList<>();
      try {
        for (JsonNode entry :
            JsonMapper.builder().build().readTree(text(journal)).path("entries")) {
          Path file = folder.resolve(entry.path("tag").asString("") + ".sql").normalize();
          if (!file.startsWith(folder.normalize()) || !Files.isRegularFile(file)) {
            throw new TallyrollException(
                ErrorCode.USAGE,
                journal
                    + " lists '"
                    + entry.path("tag").asString("")
                    + "', of which there is no file");
          }
          listed.add(file);
          add(file, text(file), true);
        }
      } catch (JacksonException e) {
        throw new TallyrollException(
            ErrorCode.USAGE, journal + ": not JSON: " + e.getOriginalMessage(), e);
      }
      files.stream()
          .filter(file -> file.toString().endsWith(".sql") && !listed.contains(file.normalize()))
          .forEach(file -> passOver(file, "not in the journal"));
    }

    private void prisma() throws IOException {
      for (Path file : files) {
        if (isPrisma(file)) {
          add(file, text(file), true);
        } else {
          passOver(file, "not migration.sql");
        }
      }
    }

    private static final Pattern UP = Pattern.compile("([0-9]+)_.*\\.up\\.sql");

    private void golangMigrate() throws IOException {
      List<Versioned> versioned = new ArrayList<>();
      for (Path file : files) {
        Matcher matcher = UP.matcher(last(file));
        if (folder.equals(file.getParent()) && matcher.matches()) {
          versioned.add(new Versioned(file, List.of(new BigInteger(matcher.group(1)))));
        } else {
          passOver(
              file, DOWN.matcher(last(file)).matches() ? "for down" : "no migration by its name");
        }
      }
      versioned.sort(Comparator.comparing(Versioned::version, Reader::compare));
      for (Versioned each : versioned) {
        add(each.file(), text(each.file()), true);
      }
    }

    /** Files in which a comment says what is for up and what for down. */
    private void sections(String up, String down) throws IOException {
      List<Path> ordered = new ArrayList<>(files);
      if (up.contains("goose")) {
        // By number: 9_ comes before 10_.
        ordered.sort(Comparator.comparing(Reader::number));
      }
      for (Path file : ordered) {
        if (!folder.equals(file.getParent()) || !NUMBERED.matcher(last(file)).matches()) {
          passOver(
              file,
              last(file).endsWith(".sql")
                  ? "without a number"
                  : "not .sql: what it does is missing");
          continue;
        }
        String text = text(file);
        String small = text.toLowerCase(Locale.ROOT);
        if (!small.contains(up)) {
          passOver(file, "without " + up);
          continue;
        }
        boolean[] isUp = {false};
        String sql =
            text.lines()
                .map(line -> {
                  String head = line.strip().toLowerCase(Locale.ROOT);
                  if (head.startsWith(up)) {
                    isUp[0] = true;
                  } else if (head.startsWith(down)) {
                    isUp[0] = false;
                  }
                  return isUp[0] ? line : "";
                })
                .collect(Collectors.joining("\n"));
        boolean isPlain =
            small.contains("transaction:false") || small.contains("+goose no transaction");
        add(file, sql, !isPlain);
      }
    }

    private static BigInteger number(Path file) {
      Matcher digits = DIGITS.matcher(last(file));
      return digits.lookingAt() ? new BigInteger(digits.group()) : BigInteger.ZERO;
    }

    private static final Pattern DIGITS = Pattern.compile("[0-9]+");

    private void add(Path file, String sql, boolean isInTransaction) {
      migrations.add(new Migration(name(folder, file), sql, isInTransaction));
    }

    private void passOver(Path file, String why) {
      notes.add(name(folder, file) + ": passed over, " + why);
    }

    private static String text(Path file) throws IOException {
      if (Files.size(file) > MOST_BYTES) {
        throw new TallyrollException(
            ErrorCode.USAGE,
            file + ": " + (Files.size(file) >> 20) + " MB are more than a migration has (64 MB)");
      }
      try {
        String text = Files.readString(file, StandardCharsets.UTF_8);
        if (text.indexOf('\0') >= 0) {
          throw new TallyrollException(ErrorCode.USAGE, file + ": is not text");
        }
        return text;
      } catch (CharacterCodingException e) {
        throw new TallyrollException(ErrorCode.USAGE, file + ": is not text in UTF-8", e);
      }
    }
  }
}
