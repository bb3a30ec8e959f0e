package dev.tallyroll.schema.settings;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatThrownBy;

import dev.tallyroll.model.TallyrollException;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class SettingsReaderTest {
  @Test
  void everything_isRead() {
    Settings settings =
        SettingsReader.read(
            "s.yaml",
            """
            tenancy:
              columns: [tenant_id, org_id]
              tenants: public.tenants
              shared: [public.plans]
            schemas: [public]
            exclude: [audit]
            roles: {application: [app], trusted: [support]}
            suppress:
              - rule: rls-off
                object: public.plans
                reason: the same for all
            """);
    assertThat(settings.tenantColumns()).containsExactly("tenant_id", "org_id");
    assertThat(settings.tenantsTable()).isEqualTo("public.tenants");
    assertThat(settings.shared()).containsExactly("public.plans");
    assertThat(settings.schemas()).containsExactly("public");
    assertThat(settings.excluded()).containsExactly("audit");
    assertThat(settings.application()).containsExactly("app");
    assertThat(settings.trusted()).containsExactly("support");
    assertThat(settings.suppressions())
        .containsExactly(
            new Settings.Suppression("rls-off", "public.plans", "the same for all", "s.yaml:9"));
  }

  @Test
  void emptyFile_saysNothing() {
    assertThat(SettingsReader.read("s.yaml", "")).isEqualTo(Settings.NONE);
    assertThat(SettingsReader.read("s.yaml", "tenancy:\nsuppress:\n")).isEqualTo(Settings.NONE);
  }

  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      textBlock =
          """
          'tenncy: {}'                                   | s.yaml:1: unknown key 'tenncy' in the file; did you mean 'tenancy'?
          'tenancy: [a]'                                 | s.yaml:1: tenancy is to be a mapping with columns, shared, tenants
          'schemas: public'                              | s.yaml:1: schemas is to be a list
          'schemas: [[public]]'                          | s.yaml:1: schemas is to be a text
          'suppress: [{rule: rls-off, object: public.a}]' | s.yaml:1: a suppression needs rule, object and reason; reason is missing
          'suppress: [{rule: a, object: b, reason: " "}]' | s.yaml:1: a suppression needs rule, object and reason; reason is missing
          '- a'                                          | s.yaml:1: the file is to be a mapping with exclude, roles, schemas, suppress, tenancy
          'a: [b'                                        | s.yaml:1: not YAML
          'exclude: [a]%nexclude: [b]'                   | s.yaml:2: 'exclude' stands twice in the file
          """)
  void mistake_isSaidWithItsLine(String text, String message) {
    assertThatThrownBy(() -> SettingsReader.read("s.yaml", text.replace("%n", "\n")))
        .isInstanceOf(TallyrollException.class)
        .hasMessageStartingWith(message)
        .hasMessageNotContaining("\n");
  }
}
