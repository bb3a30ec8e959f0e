package dev.tallyroll.schema.finding;

import java.util.Arrays;
import java.util.Locale;
import java.util.Optional;

/**
 * What audits and checks look for. The id is the name in small letters with hyphens; ids never
 * change.
 */
public enum Rule {
  /** A key that two tenants share. */
  KEY_WITHOUT_TENANT(
      Severity.ERROR,
      "A key of tenants' rows leaves the tenant out",
      "Two tenants cannot have the same value, an upsert by this key silently changes the other tenant's row, and a duplicate-key"
          + " error tells that the value exists. Keys that the database itself makes up (identity, sequence, uuid) are not meant."),
  /** A unique key that NULL defeats. */
  KEY_NULLS_DISTINCT(
      Severity.WARNING,
      "A unique key has a column that may be NULL",
      "To a unique key each NULL differs from every other, so rows that are the same pile up as soon as one column is NULL, and"
          + " ON CONFLICT never finds them."),
  /** A unique index over COALESCE. */
  KEY_COALESCE(
      Severity.WARNING,
      "A unique index is over COALESCE instead of NULLS NOT DISTINCT",
      "An index over an expression can be neither a constraint nor the target of a foreign key, and ON CONFLICT has to repeat the"
          + " expression: with a parameter in it, it works five times and fails from the sixth (SQLSTATE 42P10), when the plan becomes generic."),
  /** A tenant column that may be NULL. */
  TENANT_NULLABLE(
      Severity.ERROR,
      "The tenant column may be NULL",
      "A row without a tenant is nobody's: policies hide it from everybody, keys do not hold for it, sums per tenant miss it."),
  /** A tenant column without a foreign key. */
  TENANT_WITHOUT_FOREIGN_KEY(
      Severity.WARNING,
      "The tenant column does not refer to the tenants table",
      "Rows can name a tenant that does not exist, and stay behind when a tenant is deleted."),
  /** A tenant column that no index begins with. */
  TENANT_WITHOUT_INDEX(
      Severity.WARNING,
      "No index begins with the tenant column",
      "Each query of one tenant reads all tenants' rows, and so does each deletion of a tenant."),
  /** A soft-deleted tenant whose rows wait for a cascade. */
  TENANT_SOFT_DELETE(
      Severity.NOTE,
      "Tenants are only marked as deleted, but rows wait for ON DELETE CASCADE",
      "A tenant that is marked is not deleted: the cascade never fires, and the rows of tenants that left stay for ever."),
  /** A foreign key between tenants' tables without the tenant. */
  FOREIGN_KEY_WITHOUT_TENANT(
      Severity.ERROR,
      "A foreign key between tenants' tables leaves the tenant out",
      "Foreign keys are checked without policies: one tenant can attach its row to another's, learn that an id exists, and lose rows"
          + " when the other deletes its own."),
  /** A foreign key that was never validated. */
  FOREIGN_KEY_NOT_VALID(
      Severity.WARNING,
      "A foreign key was never validated",
      "Rows from before it may refer to nothing, and PostgreSQL does not rely on it."),
  /** A foreign key that checks nothing. */
  FOREIGN_KEY_NOT_ENFORCED(
      Severity.ERROR,
      "A foreign key is not enforced",
      "NOT ENFORCED (from PostgreSQL 18 on) checks no row, old or new, and cascades nothing: it is a comment."),
  /** Tenants' rows without row-level security. */
  RLS_OFF(
      Severity.ERROR,
      "A table with tenants' rows has no row-level security",
      "Whoever may read it reads all tenants: one forgotten WHERE is a leak."),
  /** Row-level security that does not bind the owner. */
  RLS_NOT_FORCED(
      Severity.WARNING,
      "Row-level security is not forced",
      "The owner of the table, and every view and definer function of the owner, pass the policies by."),
  /** Row-level security without a policy. */
  RLS_WITHOUT_POLICY(
      Severity.WARNING,
      "Row-level security is on, but no policy lets anything through",
      "Everybody who is bound by it sees no row and gets no error: jobs report success over nothing."),
  /** A policy that lets everything through. */
  POLICY_ALWAYS_TRUE(
      Severity.ERROR,
      "A permissive policy is true for every row",
      "Permissive policies are joined by OR: one that is always true opens the table, whatever the others say."),
  /** A policy that does not ask for the tenant. */
  POLICY_WITHOUT_TENANT(
      Severity.ERROR,
      "A permissive policy does not look at the tenant column",
      "Permissive policies are joined by OR: rows that this one lets through are seen by all tenants that meet its condition."),
  /** A policy that raises when the setting is missing. */
  POLICY_SETTING_RAISES(
      Severity.WARNING,
      "A policy reads a setting that may not be there",
      "current_setting without missing_ok raises 42704 in every session that has not made the setting: jobs, migrations, psql."),
  /** A policy that raises when the setting is empty. */
  POLICY_SETTING_EMPTY(
      Severity.WARNING,
      "A policy casts a setting that is empty after its transaction",
      "Once SET LOCAL has ended, a custom setting is the empty text and not NULL, and the cast raises 22P02 in a pooled connection."),
  /** A policy that reads its own table. */
  POLICY_RECURSION(
      Severity.ERROR,
      "A policy reads a table whose policies read it",
      "Every query of the table fails with 42P17, infinite recursion, as soon as a role is bound by it."),
  /** A policy that calls a function for each row. */
  POLICY_CALL_PER_ROW(
      Severity.NOTE,
      "A policy calls a function for each row",
      "A stable function is called once per row unless it stands in a sub-select of its own; measured, that was five times slower on two"
          + " million rows."),
  /** A view with its owner's rights. */
  VIEW_OWNER_RIGHTS(
      Severity.ERROR,
      "A view reads tenants' rows with its owner's rights",
      "Without security_invoker a view is read as its owner: a superuser's view, or that of an owner whom the policies do not bind, shows every"
          + " tenant's rows to whoever may select from it."),
  /** A materialized view of tenants' rows. */
  MATERIALIZED_VIEW_OF_TENANTS(
      Severity.ERROR,
      "Others may read a materialized view of tenants' rows",
      "A materialized view has no row-level security: whoever may select from it reads all tenants' rows as of its last refresh."),
  /** A view that one large number breaks. */
  VIEW_NARROW_NUMERIC(
      Severity.WARNING,
      "A view casts a computed number to few digits",
      "One value beyond, a quota at 1000 %, raises 22003 and fails the view for everybody."),
  /** A definer function without a search path. */
  DEFINER_SEARCH_PATH(
      Severity.ERROR,
      "A definer function does not fix its search_path",
      "Whoever calls it chooses which tables, functions and operators its names mean, and runs them with the owner's rights."),
  /** A definer function that everybody may call. */
  DEFINER_PUBLIC(
      Severity.WARNING,
      "Everybody may call a definer function that no policy binds",
      "EXECUTE is granted to PUBLIC unless it is revoked, and the function reads with the rights of an owner whom row-level security does not bind."),
  /** A partition that can be read past the policies. */
  PARTITION_LEAK(
      Severity.ERROR,
      "A partition is granted to others and has no row-level security of its own",
      "The policies of the parent hold only for who names the parent: read directly, a partition shows every tenant's rows."),
  /** A sequence that tells too much. */
  SEQUENCE_LEAK(
      Severity.NOTE,
      "Others may read or set a sequence of a tenants' table",
      "last_value tells how many rows all tenants together have; setval breaks their inserts. INSERT needs USAGE only, and none for identity columns."),
  /** A login that policies do not bind. */
  ROLE_BYPASSES(
      Severity.WARNING,
      "A role that logs in is bound by no policy",
      "Superusers and roles with BYPASSRLS see all rows of all tenants; for them row-level security does not exist."),
  /** An application that owns its tables. */
  ROLE_OWNS_TABLES(
      Severity.WARNING,
      "The application logs in as the owner of tenants' tables",
      "An owner can switch row-level security off, change policies and drop the table: an injected statement can, too."),
  /** An object where none belongs. */
  WRONG_SCHEMA(
      Severity.WARNING,
      "An object lies in a schema where none belongs",
      "It was made while another schema came first on the search path, and is found only by sessions with the same path."),
  /** A name that the search path decides. */
  NAME_IN_TWO_SCHEMAS(
      Severity.WARNING,
      "Two schemas have a relation of the same name",
      "Which of them a statement without a schema means depends on the session's search_path."),
  /** A function body that the search path decides. */
  SEARCH_PATH_REFERENCE(
      Severity.WARNING,
      "A function names tables without their schema and does not fix its search_path",
      "Its body is bound when it runs: called with another search_path it fails with 42P01, or reads another table of that name."),
  /** An index that a cut build left. */
  INDEX_INVALID(
      Severity.ERROR,
      "An index is invalid",
      "A concurrent build was cut short. No query uses it, a unique one does not hold for old rows, and CREATE INDEX IF NOT EXISTS takes it for"
          + " success."),
  /** An index that is not kept up. */
  INDEX_NOT_READY(
      Severity.ERROR,
      "An index is not kept up",
      "A concurrent build or drop was cut short at its start: inserts pass it by, and it can never become valid by itself."),
  /** An index that another makes superfluous. */
  INDEX_DUPLICATE(
      Severity.NOTE,
      "Two indexes are the same",
      "Each write pays for both, and no query needs the second."),
  /** A name that PostgreSQL has cut. */
  IDENTIFIER_CUT(
      Severity.WARNING,
      "A name is as long as PostgreSQL cuts names to",
      "Names are cut at 63 bytes with a notice that nobody reads: the next one that begins the same collides, and IF NOT EXISTS takes it for the"
          + " same object."),
  /** A suppression that suppresses nothing. */
  SUPPRESSION_STALE(
      Severity.WARNING,
      "A suppression fits no finding",
      "What it was for is mended or renamed, or it never fitted; it would hide the next fault of that name."),

  /** A migration that does not run. */
  MIGRATION_FAILS(
      Scope.CHECK,
      Severity.ERROR,
      "A migration fails on an empty database",
      "A fresh installation, a test and a restore by replay stop here; databases that exist went another way, and nobody can make one like them."),
  /** A reference to what a later file makes. */
  ORDER_REFERS_TO_LATER(
      Scope.CHECK,
      Severity.ERROR,
      "A migration refers to what a later one makes",
      "Databases that grew in another order have it; a fresh one fails, or lives on without its foreign key."),
  /** A migration that a ledger's runner will not come to. */
  LEDGER_OUT_OF_ORDER(
      Scope.CHECK,
      Severity.ERROR,
      "A pending migration sorts before one that is applied",
      "Some runners refuse it, some apply it late, and some pass it over for ever: databases differ by when they were last migrated."),
  /** A migration that was renamed or deleted. */
  LEDGER_WITHOUT_FILE(
      Scope.CHECK,
      Severity.ERROR,
      "An applied migration has no file",
      "It was renamed or deleted after it had been applied: runners refuse with missing migrations, or apply the renamed file once more."),
  /** A fresh installation that differs from an upgrade. */
  UPGRADE_DIFFERS(
      Scope.CHECK,
      Severity.ERROR,
      "A fresh installation and an upgrade end differently",
      "What is tested on a fresh database is not what runs in production."),
  /** A migration that only mends another. */
  FIX_MIGRATION(
      Scope.CHECK,
      Severity.NOTE,
      "A migration only mends an earlier one",
      "As long as no database has the earlier one, both can be one file: there is less to review, and no moment in which the fault is live."),
  /** A lock for which everybody waits. */
  LOCK_WITHOUT_TIMEOUT(
      Scope.CHECK,
      Severity.WARNING,
      "A migration waits for a lock without lock_timeout",
      "While it waits behind one long query, everybody else waits behind it: a pending ACCESS EXCLUSIVE stops readers, too."),
  /** A table that is written anew. */
  TABLE_REWRITE(
      Scope.CHECK,
      Severity.WARNING,
      "A statement rewrites a whole table",
      "The table and all its indexes are written anew under ACCESS EXCLUSIVE: nobody reads or writes it until that is done."),
  /** An index that is built while writers wait. */
  INDEX_BUILD_BLOCKS(
      Scope.CHECK,
      Severity.WARNING,
      "An index is built while writers wait",
      "Without CONCURRENTLY the table is locked for as long as the build takes; a key that is added without USING INDEX keeps readers out, too."),
  /** Rows that are looked through while others wait. */
  VALIDATION_UNDER_LOCK(
      Scope.CHECK,
      Severity.WARNING,
      "All rows are checked while others wait",
      "A constraint that is added as valid, or validated by the transaction that added it, reads the whole table under a lock that keeps writers,"
          + " and often readers, out."),
  /** Rows that are changed while others wait. */
  ROWS_CHANGED_UNDER_LOCK(
      Scope.CHECK,
      Severity.WARNING,
      "Rows are changed while a strong lock is held",
      "The lock that ALTER TABLE took is held until the transaction ends: for as long as the rows take, nobody reads the table."),
  /** An invalid index that is taken for success. */
  CONCURRENT_LEFTOVER(
      Scope.CHECK,
      Severity.ERROR,
      "A concurrent build takes an invalid leftover for success",
      "A build that is cut short leaves an invalid index of this name. IF NOT EXISTS finds it, says nothing, and no query ever uses it; what was to be"
          + " replaced by it is dropped all the same."),
  /** What cannot be in a transaction. */
  NOT_IN_TRANSACTION(
      Scope.CHECK,
      Severity.ERROR,
      "A statement cannot run in the transaction of its migration",
      "The runner sends the file as one transaction, in which the server refuses this statement (SQLSTATE 25001)."),
  /** An upsert without a key. */
  ON_CONFLICT_WITHOUT_KEY(
      Scope.CHECK,
      Severity.ERROR,
      "No unique index fits an ON CONFLICT target",
      "The target has to name exactly the columns of a unique index, no more and no fewer: every such statement fails with 42P10, at run time."),
  /** An upsert that works five times. */
  ON_CONFLICT_PARAMETER(
      Scope.CHECK,
      Severity.ERROR,
      "An ON CONFLICT target holds a parameter",
      "As long as the server plans with the parameter's value it fits the index; from the sixth execution on the plan is generic, and it fails with 42P10."),
  /** An upsert that changes another tenant's row. */
  UPSERT_WITHOUT_TENANT(
      Scope.CHECK,
      Severity.ERROR,
      "An upsert goes by a key that leaves the tenant out",
      "A row of another tenant with the same key is changed, or taken for one's own, without an error."),
  /** A column that is not there. */
  COLUMN_UNKNOWN(
      Scope.CHECK,
      Severity.ERROR,
      "A statement names a column that is not there",
      "It fails with 42703 each time it is run."),
  /** A table that is not there. */
  TABLE_UNKNOWN(
      Scope.CHECK,
      Severity.ERROR,
      "A statement names a table that is not there",
      "It fails with 42P01 each time it is run."),
  /** A function that is not there. */
  FUNCTION_UNKNOWN(
      Scope.CHECK,
      Severity.ERROR,
      "A statement calls a function or operator that is not there",
      "It fails with 42883 each time it is run: there is none of this name, or none for these types."),
  /** Types that do not fit. */
  TYPE_MISMATCH(
      Scope.CHECK,
      Severity.ERROR,
      "The types of a statement do not fit",
      "It fails each time it is run."),
  /** A name that a program has not filled in. */
  NAME_UNDEFINED(
      Scope.CHECK,
      Severity.ERROR,
      "A statement has undefined, null or nothing where a name belongs",
      "The program that built it put the text of a missing value there: a property that is misspelt, or not set."),
  /** A placeholder that is only text. */
  PLACEHOLDER_IN_LITERAL(
      Scope.CHECK,
      Severity.ERROR,
      "A placeholder stands inside a literal",
      "To the server it is text and no parameter: the statement has one parameter less than is bound to it, and fails when it is run."),
  /** What the server cannot parse. */
  STATEMENT_SYNTAX(
      Scope.CHECK,
      Severity.ERROR,
      "A statement is not SQL",
      "It fails with 42601 each time it is run."),
  /** Any other failure. */
  STATEMENT_FAILS(
      Scope.CHECK,
      Severity.ERROR,
      "A statement cannot be planned",
      "It fails each time it is run."),
  /** A statement for one of two schemas. */
  DEPLOY_ORDER(
      Scope.CHECK,
      Severity.ERROR,
      "A statement works on one side of the migration only",
      "Between the migration and the deployment of the code, whichever comes first, it fails."),
  /** A failure that was logged. */
  LOGGED_FAILURE(
      Scope.CHECK,
      Severity.WARNING,
      "The server has logged a failure that no plan shows",
      "The statement fits the schema; what failed depends on its values: too long, out of range, a division by zero.");

  /** By which command a rule is looked for. */
  public enum Scope {
    /** In the catalogs of a database. */
    AUDIT,
    /** In migrations, and in the statements of an application. */
    CHECK
  }

  private final Scope scope;
  private final Severity severity;
  private final String title;
  private final String why;

  Rule(Severity severity, String title, String why) {
    this(Scope.AUDIT, severity, title, why);
  }

  Rule(Scope scope, Severity severity, String title, String why) {
    this.scope = scope;
    this.severity = severity;
    this.title = title;
    this.why = why;
  }

  /** The stable id, as {@code key-without-tenant}. */
  public String id() {
    return name().toLowerCase(Locale.ROOT).replace('_', '-');
  }

  /** By which command it is looked for. */
  public Scope scope() {
    return scope;
  }

  /** How bad its findings are at worst. */
  public Severity severity() {
    return severity;
  }

  /** What is wrong, in a line. */
  public String title() {
    return title;
  }

  /** What comes of it. */
  public String why() {
    return why;
  }

  /** The rule of this id. */
  public static Optional<Rule> of(String id) {
    return Arrays.stream(values()).filter(rule -> rule.id().equals(id)).findFirst();
  }
}
