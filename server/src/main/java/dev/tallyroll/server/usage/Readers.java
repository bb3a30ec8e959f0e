package dev.tallyroll.server.usage;

import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.query.QueryResult;
import dev.tallyroll.server.http.Problem;
import dev.tallyroll.server.http.ProblemException;
import dev.tallyroll.session.Database;
import dev.tallyroll.session.Sql;
import java.time.InstantSource;
import java.util.Optional;

/**
 * The two ways to read: for one tenant, as the application role, to which PostgreSQL shows nothing
 * else; and for all, as the installer, for those who administrate. Thread-safe.
 */
public final class Readers {
  /** The most rows of an answer: those who ask share the heap. */
  private static final long MOST_ROWS = 1_000_000;

  private final Database application;
  private final Optional<Database> owner;
  private final QueryEngine ofTenant;
  private final Optional<QueryEngine> ofAll;

  /**
   * With connections.
   *
   * @param owner as the installer; empty where this server has none
   */
  public Readers(Database application, Optional<Database> owner, InstantSource clock) {
    this.application = application;
    this.owner = owner;
    this.ofTenant = new QueryEngine(application, clock, MOST_ROWS);
    this.ofAll = owner.map(database -> new QueryEngine(database, clock, MOST_ROWS));
  }

  /** Answers a query, for one tenant or for all. */
  QueryResult query(Optional<String> tenant, QueryRequest request) {
    return tenant.isPresent()
        ? ofTenant.runAs(tenant.get(), request)
        : ofAll.orElseThrow(Readers::noOwner).run(request);
  }

  /** Runs work in a transaction that sees one tenant, or all. */
  public <T> T read(Optional<String> tenant, Database.Work<T> work) {
    if (tenant.isEmpty()) {
      return owner().transact("query", work);
    }
    return application.transact(
        "query",
        connection -> {
          Sql.run(connection, "set local tallyroll.tenant = " + Sql.literal(tenant.get()));
          return work.run(connection);
        });
  }

  /** Runs work that names no tenant, as the application role. */
  <T> T readNames(Database.Work<T> work) {
    return application.transact("query", work);
  }

  /**
   * Connections as the installer.
   *
   * @throws ProblemException if this server has none
   */
  public Database owner() {
    return owner.orElseThrow(Readers::noOwner);
  }

  private static ProblemException noOwner() {
    return new ProblemException(
        Problem.DATABASE,
        "this server has no connection as the installer (owner.url): name a tenant, or ask one that has");
  }
}
