package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.audit.Subject.TenantTable;
import dev.tallyroll.schema.catalog.Column;
import dev.tallyroll.schema.catalog.ForeignKey;
import dev.tallyroll.schema.catalog.Index;
import dev.tallyroll.schema.catalog.Relation;
import dev.tallyroll.schema.finding.Findings;
import dev.tallyroll.schema.finding.Rule;
import dev.tallyroll.schema.finding.Severity;
import dev.tallyroll.session.Sql;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Locale;
import java.util.Objects;
import java.util.Optional;
import java.util.Set;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/** Primary keys, unique keys and exclusion constraints. */
final class KeyChecks {
  private static final Pattern COALESCE =
      Pattern.compile("COALESCE\\((\"[^\"]+\"|\\w+)(::[a-z ]+)?, .*", Pattern.DOTALL);

  private final Subject subject;
  private final Findings findings;

  /** Those that are to get the tenant: what else is wrong with them is mended after that. */
  private final Set<Index> widened = new HashSet<>();

  private KeyChecks(Subject subject, Findings findings) {
    this.subject = subject;
    this.findings = findings;
  }

  static void check(Subject subject, Findings findings) {
    KeyChecks checks = new KeyChecks(subject, findings);
    for (TenantTable each : subject.tenantTables()) {
      subject.catalog().indexes(each.table()).stream()
          .filter(index -> (index.isUnique() || index.isExclusion()) && index.isUsable())
          .forEach(index -> checks.withoutTenant(each, index));
    }
    for (Relation table : subject.catalog().tables()) {
      if (!table.isPartition()) {
        subject.catalog().indexes(table).stream()
            .filter(index ->
                index.isUnique() && !index.isPrimary() && !index.isExclusion() && index.isUsable())
            .forEach(index -> checks.nulls(table, index));
      }
    }
  }

  private void withoutTenant(TenantTable each, Index index) {
    Relation table = each.table();
    Column tenant = each.tenant();
    if (index.hasKey(tenant.number()) || mentions(index, tenant)) {
      return;
    }
    List<Column> keys =
        index.keys().stream().flatMap(part -> table.column(part.column()).stream()).toList();
    if (keys.stream().anyMatch(Column::isSurrogate)) {
      return;
    }
    String object = table.qualified() + "." + index.name();
    String over = Mends.parts(index);
    String kind =
        index.isExclusion()
            ? "exclusion constraint"
            : index.isPrimary() ? "primary key" : "unique key";
    String evidence = kind + " (" + over + ") without " + tenant.name();
    Severity severity = Severity.ERROR;
    Optional<ForeignKey> parent = parent(each, index);
    if (parent.isPresent()) {
      boolean carries = parent.get().columns().contains(tenant.number());
      severity = carries ? Severity.NOTE : Severity.WARNING;
      evidence +=
          "; it holds the key of "
              + subject
                  .catalog()
                  .relation(parent.get().referenced())
                  .map(Relation::qualified)
                  .orElse("?")
              + ", which tells the tenant"
              + (carries ? "" : " unless a row refers to another tenant's");
    } else if (refersToSurrogate(table, index)) {
      severity = Severity.NOTE;
      evidence += "; it is the key of another table, which the database makes up";
    } else if (index.isPrimary() && index.keys().size() == 1 && isMadeUp(keys.getFirst())) {
      severity = Severity.NOTE;
      evidence += "; if the application makes it up, it may take it from another tenant";
    }
    widened.add(index);
    findings.add(Rule.KEY_WITHOUT_TENANT, severity, object, evidence, widen(each, index));
  }

  private static boolean mentions(Index index, Column tenant) {
    Pattern name = Pattern.compile("(?<!\\w)" + Pattern.quote(tenant.name()) + "(?!\\w)");
    return index.keys().stream()
            .map(Index.Part::expression)
            .filter(Objects::nonNull)
            .anyMatch(expression -> name.matcher(expression).find())
        || (index.predicate() instanceof String predicate
            && Pattern.compile("(?<!\\w)\"?" + Pattern.quote(tenant.name()) + "\"? (IS NULL|= )")
                .matcher(predicate)
                .find());
  }

  /** Whether it looks like a key that applications make up: a uuid, or a text that is called id. */
  private static boolean isMadeUp(Column key) {
    return key.typeName().equals("uuid")
        || (key.name().equals("id")
            && (key.typeName().equals("text") || key.typeName().equals("varchar")));
  }

  /** Whether the whole key is a foreign key to one that the database makes up. */
  private boolean refersToSurrogate(Relation table, Index index) {
    return subject.catalog().foreignKeys(table).stream()
        .filter(key ->
            key.referenced() != table.oid()
                && key.columns().size() == index.keys().size()
                && key.columns().stream().allMatch(index::hasKey))
        .anyMatch(key ->
            // What lies elsewhere, as Supabase's auth.users, is taken for such a one.
            subject
                .catalog()
                .relation(key.referenced())
                .map(parent ->
                    key.referencedColumns().stream()
                        .anyMatch(column ->
                            parent.column(column).filter(Column::isSurrogate).isPresent()))
                .orElse(true));
  }

  /** A foreign key within this key, the tenant aside, that refers to a table of tenants' rows. */
  private Optional<ForeignKey> parent(TenantTable each, Index index) {
    return subject.catalog().foreignKeys(each.table()).stream()
        .filter(key -> key.referenced() != each.table().oid())
        .filter(key ->
            key.columns().stream()
                .allMatch(column -> index.hasKey(column) || column == each.tenant().number()))
        .filter(key ->
            subject
                .catalog()
                .relation(key.referenced())
                .filter(parent -> subject.tenancy().column(parent).isPresent())
                .isPresent())
        // Of several the one that carries the tenant says more.
        .min(Comparator.comparing(key -> !key.columns().contains(each.tenant().number())));
  }

  private String widen(TenantTable each, Index index) {
    Relation table = each.table();
    Column tenant = each.tenant();
    if (index.isExclusion()) {
      return "-- add \""
          + tenant.name()
          + " with =\" to the exclusion constraint "
          + index.name()
          + "; for a type without GiST operators of its own, extension btree_gist has them";
    }
    StringBuilder mend = new StringBuilder();
    if (!tenant.isNotNull() && index.isPrimary()) {
      mend.append("-- first make ")
          .append(tenant.name())
          .append(" NOT NULL, see tenant-nullable\n");
    }
    mend.append(
            "-- an upsert that names the old columns fails with 42P10 once the old key is gone:")
        .append(" deploy one that names the new columns in between\n");
    List<String> parts = new ArrayList<>(index.definition().parts());
    parts.addFirst(Sql.identifier(tenant.name()));
    return mend.append(Mends.replaceKey(subject, table, index, parts, index.nullsNotDistinct()))
        .toString();
  }

  private void nulls(Relation table, Index index) {
    String object = table.qualified() + "." + index.name();
    List<Index.Part> coalesced =
        index.keys().stream()
            .filter(part ->
                part.expression() instanceof String expression
                    && expression.toUpperCase(Locale.ROOT).startsWith("COALESCE("))
            .toList();
    if (!coalesced.isEmpty()) {
      findings.add(
          Rule.KEY_COALESCE,
          object,
          "unique index over " + Mends.parts(index),
          afterWidening(index, withoutCoalesce(table, index)));
      return;
    }
    if (index.nullsNotDistinct()) {
      return;
    }
    List<Column> nullable =
        index.keys().stream()
            .flatMap(part -> table.column(part.column()).stream())
            .filter(column -> !column.isNotNull() && !excludesNull(index, column))
            // A tenant that may be NULL is a finding of its own.
            .filter(column -> !subject.tenancy().column(table).filter(column::equals).isPresent())
            .toList();
    if (nullable.isEmpty()) {
      return;
    }
    findings.add(
        Rule.KEY_NULLS_DISTINCT,
        // One column that may be NULL is often meant so: known at most once, or not known.
        index.keys().size() == 1 ? Severity.NOTE : Severity.WARNING,
        object,
        "unique key ("
            + Mends.parts(index)
            + "), in which "
            + String.join(", ", nullable.stream().map(Column::name).toList())
            + " may be NULL",
        afterWidening(
            index,
            "-- rows that are the same already: select "
                + Mends.parts(index)
                + ", count(*) from "
                + table.sql()
                + " group by "
                + Mends.parts(index)
                + " having count(*) > 1\n"
                + Mends.replaceKey(subject, table, index, index.definition().parts(), true)));
  }

  private String afterWidening(Index index, String mend) {
    return widened.contains(index)
        ? "-- mend key-without-tenant of this key first, and audit again"
        : mend;
  }

  private static boolean excludesNull(Index index, Column column) {
    String predicate = index.predicate();
    return predicate != null
        && Pattern.compile(
                "(?<!\\w)\"?" + Pattern.quote(column.name()) + "\"? IS NOT NULL",
                Pattern.CASE_INSENSITIVE)
            .matcher(predicate)
            .find();
  }

  private String withoutCoalesce(Relation table, Index index) {
    List<String> parts =
        index.definition().parts().stream()
            .map(part -> {
              Matcher matcher = COALESCE.matcher(part);
              return matcher.matches() ? matcher.group(1) : part;
            })
            .toList();
    return "-- upserts are to name the plain columns from then on\n"
        + "-- rows with the stand-in for NULL beside rows with NULL become two: look for them first\n"
        + Mends.replaceKey(subject, table, index, parts, true);
  }
}
