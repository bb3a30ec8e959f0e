package dev.tallyroll.schema.check;

import static org.assertj.core.api.Assertions.assertThat;

import dev.tallyroll.schema.replay.Migration;
import dev.tallyroll.schema.replay.MigrationFolder;
import dev.tallyroll.schema.replay.MigrationFolder.Layout;
import java.util.Arrays;
import java.util.List;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

/**
 * A new name has to come where it is wanted, in the order of the runner, and to be nobody else's.
 */
class RenamingTest {
  @ParameterizedTest
  @CsvSource(
      delimiter = '|',
      value = {
        // The second column is the order that is wanted; the moved one has a star.
        "NUMBERED|1_a 8_x 9_c *2_o|git mv 2_o.sql 9a_o.sql",
        "NUMBERED|01_a 02_c *01_o 03_x|git mv 01_o.sql 02a_o.sql",
        "NUMBERED|1_a 2_c *1_o|git mv 1_o.sql 3_o.sql",
        "FLYWAY|V1__a V2.1__c *V2__o V3__x|git mv V2__o.sql V2.2__o.sql",
        "FLYWAY|V1__a V2__c *V1_5__o V3__x|git mv V1_5__o.sql V2.1__o.sql",
        "FLYWAY|V2024.01.02__a V2024.01.03__c *V2024.01.01__o V2024.01.04__x|git mv V2024.01.01__o.sql V2024.01.03.1__o.sql",
        "FLYWAY|core/V1__a core/V2__c *core/V1.5__o|git mv core/V1.5__o.sql core/V3__o.sql",
        "GOLANG_MIGRATE|000001_a.up 000002_c.up *000001_o.up 000003_x.up|no number is free",
        "GOLANG_MIGRATE|000002_c.up *000001_o.up|git mv 000001_o.up.sql 000003_o.up.sql",
        "DBMATE|20260101000000_a 20260102000000_c *20260101000001_o|git mv 20260101000001_o.sql 20260102000001_o.sql",
        "GOOSE|9_c *2_o 11_x|git mv 2_o.sql 10_o.sql",
        "SUPABASE|20260101000000_a 20260102000000_c *20260101000001_o|git mv 20260101000001_o.sql 20260102000001_o.sql"
      })
  void newName(Layout layout, String order, String expected) {
    List<Migration> wanted =
        Arrays.stream(order.split(" "))
            .map(name -> new Migration(name.replace("*", "") + ".sql", name, true))
            .toList();
    Migration moved =
        wanted.stream()
            .filter(migration -> migration.sql().startsWith("*"))
            .findFirst()
            .orElseThrow();
    assertThat(Renaming.steps(new MigrationFolder(layout, wanted, List.of()), moved, wanted))
        .contains(expected);
  }
}
