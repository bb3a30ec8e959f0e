/** Sample tenants with a month of events and live traffic. */
@NullMarked
package dev.tallyroll.cli.demo;

import org.jspecify.annotations.NullMarked;
