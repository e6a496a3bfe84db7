//! Rust text without its comments and strings: what remains is code.

/// Replaces what comments, strings and characters contain by spaces; every line keeps its place and length.
pub fn blank(text: &str) -> String {
    let mut blanked = String::with_capacity(text.len());
    let mut rest = text;
    while !rest.is_empty() {
        let hidden = hidden(rest, blanked.chars().next_back());
        if hidden == 0 {
            let next = rest.chars().next().expect("there is a rest");
            blanked.push(next);
            rest = &rest[next.len_utf8()..];
        } else {
            let (comment, after) = rest.split_at(hidden);
            blanked.extend(comment.bytes().map(|byte| if byte == b'\n' { '\n' } else { ' ' }));
            rest = after;
        }
    }
    blanked
}

/// How many bytes from here are a comment, a string or a character; 0: this is code.
fn hidden(rest: &str, before: Option<char>) -> usize {
    let in_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    match rest.as_bytes() {
        [b'/', b'/', ..] => rest.find('\n').unwrap_or(rest.len()),
        [b'/', b'*', ..] => block_comment(rest),
        [b'"', ..] => quoted(rest, b'"'),
        [b'r', b'"' | b'#', ..] if !in_word => raw_string(rest).unwrap_or(0),
        [b'\'', b'\\', ..] => quoted(rest, b'\''),
        // A lifetime has no closing quote behind its first letter.
        [b'\'', ..] => {
            let mut letters = rest[1..].char_indices();
            match (letters.next(), letters.next()) {
                (Some(_), Some((end, '\''))) => end + 2,
                _ => 0,
            }
        }
        _ => 0,
    }
}

fn block_comment(rest: &str) -> usize {
    let mut depth = 0;
    let mut at = 0;
    while at < rest.len() {
        let here = &rest.as_bytes()[at..];
        if here.starts_with(b"/*") {
            depth += 1;
            at += 2;
        } else if here.starts_with(b"*/") {
            depth -= 1;
            at += 2;
        } else {
            at += 1;
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn quoted(rest: &str, quote: u8) -> usize {
    let bytes = rest.as_bytes();
    let mut at = 1;
    while at < bytes.len() {
        match bytes[at] {
            b'\\' => at += 2,
            byte if byte == quote => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

fn raw_string(rest: &str) -> Option<usize> {
    let hashes = rest[1..].bytes().take_while(|&byte| byte == b'#').count();
    let open = 1 + hashes;
    if rest.as_bytes().get(open) != Some(&b'"') {
        return None; // a raw identifier
    }
    let close = format!("\"{}", "#".repeat(hashes));
    let content = &rest[open + 1..];
    Some(content.find(&close).map_or(rest.len(), |end| open + 1 + end + close.len()))
}

#[cfg(test)]
mod tests {
    use super::blank;

    fn is_blanked(text: &str, code: &str) {
        assert_eq!(blank(text).split_whitespace().collect::<Vec<_>>().join(" "), code, "{text}");
    }

    #[test]
    fn comments_and_strings_vanish() {
        is_blanked("a // b", "a");
        is_blanked("a /* b /* c */ d */ e", "a e");
        is_blanked(r#"a "b \" c" d"#, "a d");
        is_blanked("a r#\"b \" c\"# d", "a d");
        is_blanked("a b\"c\" d", "a b d");
    }

    #[test]
    fn characters_vanish_and_lifetimes_stay() {
        is_blanked(r"a '\'' b", "a b");
        is_blanked("a '\"' b", "a b");
        is_blanked("a 'ü' b", "a b");
        is_blanked("fn f<'a>(x: &'a str)", "fn f<'a>(x: &'a str)");
        is_blanked("r#type", "r#type");
    }

    #[test]
    fn lines_keep_their_place() {
        assert_eq!(blank("a\n// b\n\"c\nd\" e\n"), "a\n    \n  \n   e\n");
    }
}
