package dev.tallyroll.schema.statement;

import dev.tallyroll.model.ErrorCode;
import dev.tallyroll.model.TallyrollException;
import dev.tallyroll.schema.finding.Place;
import dev.tallyroll.schema.script.Script;
import dev.tallyroll.schema.script.ScriptPart;
import dev.tallyroll.schema.statement.AppStatement.Form;
import java.io.IOException;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.nio.file.AccessDeniedException;
import java.nio.file.FileVisitResult;
import java.nio.file.Files;
import java.nio.file.Path;
import java.nio.file.SimpleFileVisitor;
import java.nio.file.attribute.BasicFileAttributes;
import java.util.ArrayList;
import java.util.Collection;
import java.util.List;
import java.util.Locale;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Pattern;
import java.util.stream.Collectors;
import tools.jackson.core.JacksonException;
import tools.jackson.databind.JsonNode;
import tools.jackson.databind.json.JsonMapper;

/**
 * The statements of an application, from its files.
 *
 * @param statements in the order of the files
 * @param notes what was passed over, and why
 */
public record Statements(List<AppStatement> statements, List<String> notes) {
  /** Nobody writes a longer one; what is longer is data or was generated. */
  private static final long MOST_BYTES = 8L << 20;

  private static final Set<String> NOT_OURS =
      Set.of(
          "node_modules",
          "target",
          "build",
          "dist",
          "out",
          "vendor",
          "venv",
          "__pycache__",
          "bin",
          "obj",
          "coverage");

  /** Tests have statements that are meant to fail. */
  private static final Pattern TESTS =
      Pattern.compile(
          "(.*/)?(__tests__|tests?|e2e|fixtures|testdata)/.*|.*[._-](test|spec)s?\\.\\w+|(.*/)?test_[^/]*\\.py|.*_test\\.(go|py)|.*(Test|Tests|IT)\\.java");

  private static final Pattern STARTS =
      Pattern.compile(
          "(select|insert\\s+into|update|delete\\s+from|merge\\s+into|with(\\s+recursive)?)\\s+.*",
          Pattern.DOTALL | Pattern.CASE_INSENSITIVE);

  private static final List<Pattern> WHOLE =
      List.of(
          Pattern.compile("\\bselect\\b.*\\bfrom\\b.*", Pattern.DOTALL | Pattern.CASE_INSENSITIVE),
          Pattern.compile(
              "select\\s+[\\w.\"]+\\s*\\(.*", Pattern.DOTALL | Pattern.CASE_INSENSITIVE),
          Pattern.compile("insert\\s+into\\s+\\S+.*", Pattern.DOTALL | Pattern.CASE_INSENSITIVE),
          Pattern.compile(
              "update\\s+\\S+.*\\bset\\b.*=.*", Pattern.DOTALL | Pattern.CASE_INSENSITIVE),
          Pattern.compile("delete\\s+from\\s+\\S+.*", Pattern.DOTALL | Pattern.CASE_INSENSITIVE),
          Pattern.compile(
              "merge\\s+into\\s+.*\\busing\\b.*", Pattern.DOTALL | Pattern.CASE_INSENSITIVE),
          Pattern.compile("with\\b.*\\bas\\b.*\\(.*", Pattern.DOTALL | Pattern.CASE_INSENSITIVE));

  /** A sentence for people has no such thing in it. */
  private static final Pattern PUNCTUATION =
      Pattern.compile("[=*(,;$\\[\"\u0001]|\\w\\.\\w|[?%]|:\\w|%s");

  /** Statements without any. */
  private static final Pattern PLAIN =
      Pattern.compile(
          "select\\s+\\w+\\s+from\\s+\\w+(\\s+order\\s+by\\s+\\w+(\\s+(asc|desc))?)?(\\s+limit\\s+\\d+)?|delete\\s+from\\s+\\w+|insert\\s+into\\s+\\w+\\s+default\\s+values",
          Pattern.CASE_INSENSITIVE);

  /**
   * Entities in the language of JPA: a selected alias, a constructor, or CamelCase with an alias.
   */
  private static final Pattern JPQL =
      Pattern.compile(
          "^(?i:select)\\s+(?i:distinct\\s+)?(\\w+)\\s+(?i:from)\\s+[\\w.]+\\s+(?i:as\\s+)?\\1\\b|^(?i:select)\\s+(?i:new)\\s"
              + "|\\b(?i:from|update|join)\\s+[A-Z][a-z0-9]+([A-Z][a-z0-9]*)*\\s+(?i:as\\s+)?(?!(?i:where|set|join|on|order|group|limit)\\b)[a-z]\\w*\\b");

  /** What can be planned; the rest of what a script does is no statement of an application's. */
  private static final Pattern PLANNABLE =
      Pattern.compile("(select|insert|update|delete|merge|with|values|table)\\b.*", Pattern.DOTALL);

  /** Copies. */
  public Statements {
    statements = List.copyOf(statements);
    notes = List.copyOf(notes);
  }

  /**
   * Reads files of SQL, and programs in TypeScript, JavaScript, Java, Go and Python, in which texts
   * are looked for that are SQL, and a recording ({@code .jsonl}); of a folder all below it but
   * what was built or belongs to others.
   *
   * @param leftOut folders below it that are not looked at, as that of the migrations
   * @throws TallyrollException if there is no such file or folder
   */
  public static Statements read(Path path, Collection<Path> leftOut) {
    if (!Files.exists(path)) {
      throw new TallyrollException(
          ErrorCode.USAGE, "no file or folder " + path + " with statements");
    }
    List<AppStatement> statements = new ArrayList<>();
    List<String> notes = new ArrayList<>();
    List<Path> files = new ArrayList<>();
    try {
      Path root = Files.isSymbolicLink(path) ? path.toRealPath() : path;
      Walk walk = new Walk(root, leftOut, files, notes);
      // A link to a folder is meant to be followed, if it is named.
      Files.walkFileTree(root, walk);
      if (walk.tests > 0) {
        notes.add(
            path
                + ": "
                + walk.tests
                + " files of tests were passed over; name their folder to have them looked at");
      }
    } catch (IOException e) {
      throw new TallyrollException(ErrorCode.USAGE, path + " cannot be read: " + e.getMessage(), e);
    }
    files.sort(null);
    for (Path file : files) {
      if (file.equals(path) && file.toString().endsWith(".jsonl")) {
        text(file, notes)
            .ifPresent(
                text -> statements.addAll(recorded(file.toString().replace('\\', '/'), text)));
      }
      Optional<Language> language = Language.of(file.toString());
      if (language.isPresent()) {
        text(file, notes)
            .ifPresent(text ->
                statements.addAll(of(language.get(), file.toString().replace('\\', '/'), text)));
      }
    }
    return new Statements(statements, notes);
  }

  private static final class Walk extends SimpleFileVisitor<Path> {
    private final Path root;
    private final List<Path> leftOut;
    private int tests;
    private final List<Path> files;
    private final List<String> notes;

    Walk(Path root, Collection<Path> leftOut, List<Path> files, List<String> notes) {
      this.root = root;
      this.leftOut = leftOut.stream().map(Walk::plain).toList();
      this.files = files;
      this.notes = notes;
    }

    private static Path plain(Path folder) {
      return folder.toAbsolutePath().normalize();
    }

    @Override
    public FileVisitResult preVisitDirectory(Path folder, BasicFileAttributes attributes) {
      String name = String.valueOf(folder.getFileName());
      boolean isLeftOut =
          !folder.equals(root)
              && (NOT_OURS.contains(name)
                  || name.startsWith(".")
                  || leftOut.contains(plain(folder)));
      return isLeftOut ? FileVisitResult.SKIP_SUBTREE : FileVisitResult.CONTINUE;
    }

    @Override
    public FileVisitResult visitFile(Path file, BasicFileAttributes attributes) {
      if (attributes.isRegularFile() && !leftOut.contains(plain(file))) {
        boolean isTest =
            !file.equals(root)
                && TESTS
                    .matcher(plain(root).relativize(plain(file)).toString().replace('\\', '/'))
                    .matches();
        if (isTest) {
          tests++;
        } else {
          files.add(file);
        }
      }
      return FileVisitResult.CONTINUE;
    }

    @Override
    public FileVisitResult visitFileFailed(Path file, IOException e) {
      notes.add(file + ": passed over, " + why(e));
      return FileVisitResult.CONTINUE;
    }
  }

  private static String why(IOException e) {
    return e instanceof AccessDeniedException
        ? "it may not be read"
        : String.valueOf(e.getMessage());
  }

  private static Optional<String> text(Path file, List<String> notes) {
    try {
      if (Files.size(file) > MOST_BYTES) {
        notes.add(
            file
                + ": passed over, "
                + (Files.size(file) >> 20)
                + " MB are more than anybody writes (8 MB)");
        return Optional.empty();
      }
      String text =
          StandardCharsets.UTF_8
              .newDecoder()
              .decode(ByteBuffer.wrap(Files.readAllBytes(file)))
              .toString();
      if (text.indexOf('\0') >= 0) {
        notes.add(file + ": passed over, it is not text");
        return Optional.empty();
      }
      return Optional.of(text);
    } catch (CharacterCodingException e) {
      notes.add(file + ": passed over, it is not text in UTF-8");
    } catch (IOException e) {
      notes.add(file + ": passed over, " + why(e));
    }
    return Optional.empty();
  }

  /** The statements of one file. */
  static List<AppStatement> of(Language language, String file, String text) {
    List<AppStatement> statements = new ArrayList<>();
    Set<String> temporary = temporary(text);
    List<AppStatement> found = found(language, file, text);
    for (AppStatement statement : found) {
      // What is made while it runs is in no migration.
      String small = statement.sql().toLowerCase(Locale.ROOT);
      if (temporary.stream()
          .noneMatch(name -> small.matches("(?s).*\\b" + Pattern.quote(name) + "\\b.*"))) {
        statements.add(statement);
      }
    }
    return statements;
  }

  private static final Pattern TEMPORARY =
      Pattern.compile(
          "create\\s+(?:local\\s+|global\\s+)?temp(?:orary)?\\s+table\\s+(?:if\\s+not\\s+exists\\s+)?(\\w+)",
          Pattern.CASE_INSENSITIVE);

  private static Set<String> temporary(String text) {
    return TEMPORARY
        .matcher(text)
        .results()
        .map(made -> made.group(1).toLowerCase(Locale.ROOT))
        .collect(Collectors.toSet());
  }

  /** Parameters as sqlc writes them. */
  private static String sqlc(String text) {
    return text.replaceAll("sqlc\\.(?:arg|narg|slice)\\(\\s*['\"]?(\\w+)['\"]?\\s*\\)", "@$1")
        .replaceAll("sqlc\\.embed\\(\\s*(\\w+)\\s*\\)", "$1.*");
  }

  private static List<AppStatement> found(Language language, String file, String text) {
    List<AppStatement> statements = new ArrayList<>();
    if (language == Language.SQL) {
      for (ScriptPart part : Script.parts(sqlc(text))) {
        if (part instanceof ScriptPart.Statement && isPlannable(part.text())) {
          statements.add(
              statement(language, file, new Literal(part.line(), part.text(), true), Form.WHOLE));
        }
      }
      return statements;
    }
    for (Literal literal : SourceScanner.scan(language, text)) {
      if (isSql(literal.text()) && !(language == Language.JAVA && isJpql(literal.text()))) {
        for (ScriptPart part : Script.parts(literal.text())) {
          if (part instanceof ScriptPart.Statement && isPlannable(part.text())) {
            statements.add(
                statement(
                    language,
                    file,
                    new Literal(literal.line() + part.line() - 1, part.text(), literal.isTagged()),
                    form(literal, part)));
          }
        }
      }
    }
    return statements;
  }

  private static Form form(Literal literal, ScriptPart part) {
    if (literal.isTagged() && part.text().indexOf(Literal.HOLE) >= 0) {
      return Form.TEMPLATE;
    }
    return PUNCTUATION.matcher(part.text()).find() ? Form.LITERAL : Form.PHRASE;
  }

  /** Whether a text asks for entities, and not for rows. */
  private static boolean isJpql(String text) {
    return JPQL.matcher(text.strip()).find();
  }

  private static AppStatement statement(
      Language language, String file, Literal literal, Form form) {
    Placeholders.Normalised normalised = Placeholders.normalise(language, literal);
    return new AppStatement(
        new Place(file, literal.line()),
        normalised.sql(),
        normalised.isComposed() ? Form.COMPOSED : form,
        normalised.inLiterals(),
        null,
        1);
  }

  /** What {@link dev.tallyroll.schema.recording.Recording} has written. */
  private static List<AppStatement> recorded(String file, String text) {
    JsonMapper json = JsonMapper.builder().build();
    List<AppStatement> statements = new ArrayList<>();
    int line = 0;
    for (String each : text.lines().toList()) {
      line++;
      JsonNode entry;
      try {
        entry = json.readTree(each);
      } catch (JacksonException e) {
        throw new TallyrollException(
            ErrorCode.USAGE, file + ":" + line + ": is no recording: " + e.getOriginalMessage(), e);
      }
      String sql = entry.path("sql").asString("");
      // One that a driver splits, or that was injected, is not to be run.
      for (ScriptPart part : Script.parts(sql)) {
        if (!isPlannable(part.text())) {
          continue;
        }
        AppStatement statement =
            statement(Language.JAVA, file, new Literal(line, part.text(), true), Form.WHOLE);
        String state = entry.path("state").asString("");
        statements.add(
            new AppStatement(
                statement.place(),
                statement.sql(),
                statement.form(),
                statement.inLiterals(),
                state.isEmpty() ? null : new AppStatement.Logged(state, "recorded with this state"),
                1));
      }
    }
    return statements;
  }

  /** Whether a statement is of a kind that has a plan. */
  static boolean isPlannable(String sql) {
    String bare = sql.replaceFirst("^[\\s(]+", "").toLowerCase(Locale.ROOT);
    return PLANNABLE.matcher(bare).matches();
  }

  /**
   * Whether a text in a program is SQL: it begins like a statement, goes on like one, has signs
   * that sentences do not have, and its first word is not written like the first of a sentence.
   */
  private static boolean isSql(String text) {
    String bare =
        text.replaceAll("(?m)^\\s*--.*$", "")
            .replaceFirst("(?s)^\\s*/\\*.*?\\*/", "")
            .replaceFirst("^[\\s(]+", "")
            .strip();
    if (!STARTS.matcher(bare).matches()) {
      return false;
    }
    if (!PUNCTUATION.matcher(bare).find() && !PLAIN.matcher(bare).matches()) {
      return false;
    }
    String word = bare.split("\\s", 2)[0];
    boolean isOneCase =
        word.equals(word.toLowerCase(Locale.ROOT)) || word.equals(word.toUpperCase(Locale.ROOT));
    return isOneCase && WHOLE.stream().anyMatch(pattern -> pattern.matcher(bare).matches());
  }
}
