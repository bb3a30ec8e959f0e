package dev.tallyroll.schema.audit;

import dev.tallyroll.schema.catalog.Catalog;
import dev.tallyroll.schema.catalog.CatalogReader;
import dev.tallyroll.schema.settings.Settings;
import dev.tallyroll.schema.settings.Settings.Suppression;
import dev.tallyroll.schema.tenancy.Tenancy;
import java.sql.Connection;
import java.sql.SQLException;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.HashSet;
import java.util.List;
import java.util.Optional;
import java.util.Set;

/**
 * Audits a database: reads its catalogs in one read-only snapshot and looks for every {@link Rule}.
 * Changes nothing and takes no lock stronger than ACCESS SHARE. Stateless.
 */
public final class Audit {
  /** The schema of Tallyroll itself, which has readers and owners of its own kind. */
  private static final String TALLYROLL = "tallyroll";

  private Audit() {}

  /**
   * What an audit found.
   *
   * @param tenancy how tenants are told apart
   * @param relations how many tables, views and sequences were looked at
   * @param findings the worst first, then by rule and object
   * @param suppressed those that the settings say to live with
   */
  public record Report(
      Tenancy tenancy, int relations, List<Finding> findings, List<Suppressed> suppressed) {
    /** Copies. */
    public Report {
      findings = List.copyOf(findings);
      suppressed = List.copyOf(suppressed);
    }
  }

  /**
   * A finding to live with.
   *
   * @param reason why, as the settings say
   */
  public record Suppressed(Finding finding, String reason) {}

  /**
   * Audits a database.
   *
   * @param connection to it, of any role; must not be in a transaction
   * @throws dev.tallyroll.model.TallyrollException if the settings name what is not there
   */
  public static Report run(Connection connection, Settings settings) throws SQLException {
    Catalog catalog =
        CatalogReader.read(
            connection,
            schema -> !schema.equals(TALLYROLL) && !settings.excluded().contains(schema));
    return run(catalog, settings);
  }

  static Report run(Catalog catalog, Settings settings) {
    Tenancy tenancy = Tenancy.of(catalog, settings);
    Subject subject = new Subject(catalog, tenancy, settings);
    Findings findings = new Findings();
    KeyChecks.check(subject, findings);
    TenantColumnChecks.check(subject, findings);
    ForeignKeyChecks.check(subject, findings);
    RowSecurityChecks.check(subject, findings);
    PolicyChecks.check(subject, findings);
    ViewChecks.check(subject, findings);
    FunctionChecks.check(subject, findings);
    RoleChecks.check(subject, findings);
    NameChecks.check(subject, findings);
    IndexChecks.check(subject, findings);
    List<Finding> left = new ArrayList<>();
    List<Suppressed> suppressed = new ArrayList<>();
    Set<Suppression> used = new HashSet<>();
    for (Finding finding : findings.all()) {
      Optional<Suppression> why =
          settings.suppressions().stream()
              .filter(suppression -> fits(suppression, finding))
              .findFirst();
      why.ifPresentOrElse(
          suppression -> {
            used.add(suppression);
            suppressed.add(new Suppressed(finding, suppression.reason()));
          },
          () -> left.add(finding));
    }
    settings.suppressions().stream()
        .filter(suppression -> !used.contains(suppression))
        .forEach(suppression -> left.add(stale(suppression)));
    left.sort(
        Comparator.comparing(Finding::severity)
            .thenComparing(Finding::rule)
            .thenComparing(Finding::object));
    return new Report(tenancy, catalog.relations().size(), left, suppressed);
  }

  private static boolean fits(Suppression suppression, Finding finding) {
    return finding.rule().id().equals(suppression.rule())
        && finding.object().equals(suppression.object());
  }

  private static Finding stale(Suppression suppression) {
    return new Finding(
        Rule.SUPPRESSION_STALE,
        Rule.SUPPRESSION_STALE.severity(),
        suppression.rule() + " " + suppression.object(),
        suppression.where()
            + " suppresses nothing"
            + (Rule.of(suppression.rule()).isEmpty() ? ": there is no such rule" : ""),
        "-- take it out of " + suppression.where());
  }
}
