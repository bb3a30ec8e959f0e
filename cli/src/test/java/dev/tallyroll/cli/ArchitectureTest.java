package dev.tallyroll.cli;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.domain.JavaClasses;
import com.tngtech.archunit.core.importer.ClassFileImporter;
import com.tngtech.archunit.core.importer.ImportOption;
import org.junit.jupiter.api.Test;

/** The arrows between modules and packages point one way. */
class ArchitectureTest {
  private static final JavaClasses CLASSES =
      new ClassFileImporter()
          .withImportOption(new ImportOption.DoNotIncludeTests())
          .importPackages("dev.tallyroll");

  @Test
  void model_knowsNoDatabaseAndNoIo() {
    noClasses()
        .that()
        .resideInAPackage("dev.tallyroll.model..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(
            "java.sql..",
            "javax.sql..",
            "org.postgresql..",
            "java.net..",
            "java.nio.file..",
            "dev.tallyroll.session..",
            "dev.tallyroll.postgres..",
            "dev.tallyroll.schema..",
            "dev.tallyroll.cli..",
            "dev.tallyroll.testkit..")
        .check(CLASSES);
  }

  @Test
  void schema_knowsNothingOfTheEngine_norTheEngineOfIt() {
    noClasses()
        .that()
        .resideInAPackage("dev.tallyroll.schema..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(
            "dev.tallyroll.postgres..",
            "dev.tallyroll.cli..",
            "dev.tallyroll.testkit..",
            "dev.tallyroll.model.definition..",
            "dev.tallyroll.model.partial..",
            "picocli..")
        .check(CLASSES);
    noClasses()
        .that()
        .resideInAnyPackage("dev.tallyroll.postgres..", "dev.tallyroll.session..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("dev.tallyroll.schema..")
        .check(CLASSES);
  }

  @Test
  void session_knowsOnlyTheModel() {
    noClasses()
        .that()
        .resideInAPackage("dev.tallyroll.session..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage("dev.tallyroll.postgres..", "dev.tallyroll.cli..", "picocli..")
        .check(CLASSES);
  }

  @Test
  void postgres_knowsNoCommandsAndNoHttp() {
    noClasses()
        .that()
        .resideInAPackage("dev.tallyroll.postgres..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(
            "dev.tallyroll.cli..", "dev.tallyroll.testkit..", "java.net.http..", "picocli..")
        .check(CLASSES);
  }

  @Test
  void server_knowsNoCommands_andNobodyBelowKnowsIt() {
    noClasses()
        .that()
        .resideInAPackage("dev.tallyroll.server..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage(
            "dev.tallyroll.cli..", "dev.tallyroll.testkit..", "dev.tallyroll.schema..", "picocli..")
        .check(CLASSES);
    noClasses()
        .that()
        .resideInAnyPackage(
            "dev.tallyroll.model..",
            "dev.tallyroll.session..",
            "dev.tallyroll.postgres..",
            "dev.tallyroll.schema..")
        .should()
        .dependOnClassesThat()
        .resideInAnyPackage("dev.tallyroll.server..", "org.springframework..", "jakarta.servlet..")
        .check(CLASSES);
  }

  @Test
  void commands_doNotUseTheTestkit() {
    noClasses()
        .that()
        .resideInAPackage("dev.tallyroll.cli..")
        .should()
        .dependOnClassesThat()
        .resideInAPackage("dev.tallyroll.testkit..")
        .check(CLASSES);
  }

  @Test
  void packages_haveNoCycles() {
    slices().matching("dev.tallyroll.(*).(*)..").should().beFreeOfCycles().check(CLASSES);
  }
}
