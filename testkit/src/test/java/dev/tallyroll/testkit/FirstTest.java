package dev.tallyroll.testkit;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.model.definition.DefinitionReader;
import dev.tallyroll.postgres.backfill.Backfill;
import dev.tallyroll.postgres.install.Installer;
import dev.tallyroll.postgres.query.QueryEngine;
import dev.tallyroll.postgres.query.QueryRequest;
import dev.tallyroll.postgres.refresh.Refresher;
import dev.tallyroll.postgres.status.StatusReader;
import dev.tallyroll.postgres.verify.Verifier;
import dev.tallyroll.postgres.verify.VerifyRequest;
import java.time.InstantSource;
import org.junit.jupiter.api.Test;

class FirstTest {
  @Test
  void all() {
    try (TestDatabase db = TestDatabase.create()) {
      db.run(
          "create table events (id bigint generated always as identity primary key, tenant_id text not null, ts timestamptz not null, project text, model text, status text, user_id text, tokens int, cost numeric(12,6), duration_ms double precision, msg text)");
      String insert =
          "insert into events (tenant_id, ts, project, model, status, user_id, tokens, cost, duration_ms, msg) select 't' || i % 3, now() - i * interval '137 seconds', case when i % 5 = 0 then null else 'p' || i % 4 end, 'm' || i % 2, case when i % 11 = 0 then 'error' else 'ok' end, 'u' || i % 400, i, i * 0.000123, (i % 977) * 1.7, 'msg ' || i from generate_series(1, 5000) i";
      db.run(insert);
      var definitions =
          DefinitionReader.read(
              "f",
              """
              rollup: usage
              source: {table: public.events, tenant: tenant_id, time: ts, changes: append}
              dimensions: [project, model]
              measures:
                requests: count
                errors: count where status = 'error'
                tokens: sum(tokens)
                cost: sum(cost)
                low: min(cost)
                high: max(msg)
                duration_ms: distribution(duration_ms)
                users: distinct(user_id)
                last_error: latest(msg) where status = 'error'
              grains: {1m: keep 37d, 5m: keep 90d, 1h: keep 210d, 1d: keep 1095d}
              """);
      Installer installer = new Installer(db.database());
      System.err.println(installer.plan(definitions));
      System.err.println(installer.apply(definitions));
      System.err.println(installer.apply(definitions));
      db.run(insert);
      InstantSource clock = InstantSource.system();
      QueryEngine q = new QueryEngine(db.database(), clock);
      try (Refresher r = new Refresher(db.database(), clock)) {
        System.err.println(r.refresh("usage", Refresher.WhenBusy.WAIT));
        db.run(insert);
        System.err.println(q.run(QueryRequest.of("usage").options(false, false, true)));
        System.err.println(r.refresh("usage", Refresher.WhenBusy.WAIT));
        db.run(insert);
      }
      System.err.println(
          new Backfill(db.database(), clock).run("usage", new Backfill.Progress() {}));
      System.err.println(q.run(QueryRequest.of("usage").by("model")));
      System.err.println(
          new Verifier(db.database(), clock)
              .verify(VerifyRequest.all("usage"), new Verifier.Progress() {}));
      db.run(
          "update tallyroll.usage_1h set tokens = tokens + 1 where tenant = 't1' and model = 'm1'; delete from tallyroll.usage_5m where tenant = 't0'; insert into tallyroll.usage_1d select 'zz', bucket, project, model, requests, errors, tokens, cost, cost_nonfinite, low, low_nonfinite, high, duration_ms_count, duration_ms_sum, duration_ms_min, duration_ms_max, duration_ms_sketch, duration_ms_nonfinite, users_sketch, last_error, last_error_at from tallyroll.usage_1d where tenant='t2'");
      var report =
          new Verifier(db.database(), clock)
              .verify(VerifyRequest.all("usage"), new Verifier.Progress() {});
      System.err.println(report.differing() + " " + report.mismatches().subList(0, 5));
      System.err.println(
          new Verifier(db.database(), clock)
              .repair(VerifyRequest.all("usage"), new Verifier.Progress() {}));
      assertThat(
              new Verifier(db.database(), clock)
                  .verify(VerifyRequest.all("usage"), new Verifier.Progress() {})
                  .isExact())
          .isTrue();
      System.err.println(new StatusReader(db.database()).read(null));
      System.err.println(
          db.value(
              "select count(*)||' '||sum(requests)||' '||sum(tokens) from tallyroll.usage_1h_fresh"));
      System.err.println(db.value("select count(*)||' '||sum(tokens) from events"));
      System.err.println(installer.drop("usage"));
      System.err.println(
          db.value(
              "select string_agg(column_name, ',') from information_schema.columns where table_name = 'events'"));
    }
  }
}
