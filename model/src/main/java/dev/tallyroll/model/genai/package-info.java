/**
 * What spans of generative AI mean, whichever generation of names they use: calls, activity, tokens
 * in one form.
 */
@NullMarked
package dev.tallyroll.model.genai;

import org.jspecify.annotations.NullMarked;
