package dev.tallyroll.model.event;

import static org.assertj.core.api.Assertions.assertThat;
import static org.assertj.core.api.Assertions.assertThatExceptionOfType;

import dev.tallyroll.model.time.Times;
import java.time.Duration;
import java.time.Instant;
import java.util.HexFormat;
import org.junit.jupiter.api.Test;

/** What makes events the same, and what is refused of them. */
class EventTest {
  private static final EventLimits LIMITS = EventLimits.DEFAULT;

  @Test
  void key_isOfLengthPrefixedSourceAndId() throws Exception {
    // printf '\0\0\0\1a\0\0\0\2bc' | sha256sum
    assertThat(HexFormat.of().formatHex(EventKey.of("a", "bc").bytes()))
        .isEqualTo("b534ce16ac9c8b36823f39a395ce8e0e");
  }

  @Test
  void pairsThatJoinToOneText_haveKeysOfTheirOwn() {
    assertThat(EventKey.of("a", "bc")).isNotEqualTo(EventKey.of("ab", "c"));
    assertThat(EventKey.of("a-b", "c")).isNotEqualTo(EventKey.of("a", "b-c"));
    assertThat(EventKey.of("", "abc")).isNotEqualTo(EventKey.of("abc", ""));
    assertThat(EventKey.of("a", "bc")).isEqualTo(EventKey.of("a", "bc"));
  }

  @Test
  void id_missingEmptyOrTooLong_isRefused() throws Exception {
    assertThat(LIMITS.id("id", "é".repeat(256))).hasSize(256);
    assertThatExceptionOfType(InvalidEvent.class)
        .isThrownBy(() -> LIMITS.id("id", "é".repeat(257)))
        .withMessage("has 514 bytes; the most is 512")
        .satisfies(fault -> assertThat(fault.field()).isEqualTo("id"));
    assertThatExceptionOfType(InvalidEvent.class)
        .isThrownBy(() -> LIMITS.id("id", ""))
        .withMessage("is empty");
    assertThatExceptionOfType(InvalidEvent.class)
        .isThrownBy(() -> LIMITS.id("id", null))
        .withMessage("is missing");
  }

  @Test
  void textThatPostgresCannotStore_isRefused() throws Exception {
    assertThat(LIMITS.text("data.model", "\uD83D\uDE00")).hasSize(2);
    for (String bad : new String[] {"a\u0000", "\uD83D", "\uDE00x", "\uD83Dx"}) {
      assertThatExceptionOfType(InvalidEvent.class)
          .isThrownBy(() -> LIMITS.text("data.model", bad));
    }
  }

  @Test
  void time_outsideTheWindow_isRefused() throws Exception {
    long now = 1_700_000_000_000_000L;
    long hour = 3_600_000_000L;
    assertThat(LIMITS.time("time", now + 24 * hour, now)).isEqualTo(now + 24 * hour);
    assertThat(LIMITS.time("time", now - 35 * 24 * hour, now)).isEqualTo(now - 35 * 24 * hour);
    assertThatExceptionOfType(InvalidEvent.class)
        .isThrownBy(() -> LIMITS.time("time", now + 24 * hour + 1, now))
        .withMessageContaining("24 h ahead");
    assertThatExceptionOfType(InvalidEvent.class)
        .isThrownBy(() -> LIMITS.time("time", now - 35 * 24 * hour - 1, now))
        .withMessageContaining("too-old");
    assertThatExceptionOfType(InvalidEvent.class)
        .isThrownBy(() -> LIMITS.keep(Duration.ofDays(1)).time("time", now - 25 * hour, now));
  }

  @Test
  void columns_areThoseFromProjectToUnit() {
    assertThat(EventColumn.values()).hasSize(19).startsWith(EventColumn.PROJECT_ID);
    assertThat(EventColumn.of("cache_write_tokens")).contains(EventColumn.CACHE_WRITE_TOKENS);
    assertThat(EventColumn.of("tenant")).isEmpty();
  }

  @Test
  void forgottenKeys_makeEventsTooOld_thatMayHaveComeWithThem() throws InvalidEvent {
    long now = Times.micros(Instant.parse("2026-11-30T00:00:00Z"));
    EventLimits limits = LIMITS.forgotten(now - 10 * Times.DAY, now);
    assertThat(limits.time("time", now - 9 * Times.DAY, now)).isEqualTo(now - 9 * Times.DAY);
    // One that lay 24 h ahead when it came.
    assertThatExceptionOfType(InvalidEvent.class)
        .isThrownBy(() -> limits.time("time", now - 9 * Times.DAY - 1, now))
        .withMessageContaining("too-old: lies more than 9 d back");
    assertThat(LIMITS.forgotten(now - 37 * Times.DAY, now)).isEqualTo(LIMITS);
  }
}
