//! What modules ask, and what they are answered: pam_conv(3).
#![allow(unsafe_code, reason = "a callback of C, whose answers are C's memory")]

use std::ffi::{c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::{ptr, slice};

use zeroize::Zeroize;

/// From `security/_pam_types.h`, as everything here.
const PAM_SUCCESS: c_int = 0;
const PAM_BUF_ERR: c_int = 5;
const PAM_CONV_ERR: c_int = 19;
const PAM_MAX_NUM_MSG: usize = 32;

const PAM_PROMPT_ECHO_OFF: c_int = 1;
const PAM_ERROR_MSG: c_int = 3;
const PAM_TEXT_INFO: c_int = 4;

/// `struct pam_message`.
#[repr(C)]
pub(crate) struct Message {
    style: c_int,
    text: *const c_char,
}

/// `struct pam_response`.
#[repr(C)]
pub(crate) struct Response {
    text: *mut c_char,
    /// Unused, "should be set to zero".
    code: c_int,
}

/// The answer to each prompt that does not show what is typed: `appdata_ptr` of `struct pam_conv`.
pub(crate) struct Answer<'a>(pub(crate) &'a [u8]);

/// `conv` of `struct pam_conv`. Prompts that do not show what is typed get the password, texts are
/// taken note of, and anything else is an error.
pub(crate) extern "C" fn converse(
    count: c_int,
    messages: *mut *const Message,
    responses: *mut *mut Response,
    answer: *mut c_void,
) -> c_int {
    // Nothing may unwind into C; nothing here does, but that is for the compiler to say.
    catch_unwind(AssertUnwindSafe(|| {
        let count = usize::try_from(count).unwrap_or(0);
        if !(1..=PAM_MAX_NUM_MSG).contains(&count) || messages.is_null() || responses.is_null() {
            return PAM_CONV_ERR;
        }
        // SAFETY: pam_conv(3): `messages` is an array of `num_msg` pointers, in Linux-PAM.
        let messages = unsafe { slice::from_raw_parts(messages, count) };
        // SAFETY: it is what `Transaction::start` gave to pam_start, which keeps it until pam_end.
        let answer = unsafe { &*answer.cast::<Answer<'_>>() };
        let mut replies = match Replies::new(count) {
            Some(replies) => replies,
            None => return PAM_BUF_ERR,
        };
        for (n, message) in messages.iter().enumerate() {
            if message.is_null() {
                return PAM_CONV_ERR;
            }
            // SAFETY: pam_conv(3): each points to a `struct pam_message`, which lives until we return.
            let style = unsafe { (**message).style };
            match style {
                PAM_PROMPT_ECHO_OFF if replies.set(n, answer.0) => {}
                PAM_PROMPT_ECHO_OFF => return PAM_BUF_ERR,
                PAM_ERROR_MSG | PAM_TEXT_INFO => {}
                _ => return PAM_CONV_ERR,
            }
        }
        // SAFETY: pam_conv(3): it points to where the address of the answers belongs.
        unsafe { *responses = replies.give_away() };
        PAM_SUCCESS
    }))
    .unwrap_or(PAM_CONV_ERR)
}

/// An array of answers that the module frees, as pam_conv(3) has it: from malloc, with each of its
/// texts. Wiped and freed here unless it is given away.
struct Replies {
    array: *mut Response,
    count: usize,
}

impl Replies {
    fn new(count: usize) -> Option<Self> {
        // SAFETY: takes two numbers of any value; zeroed memory is an array of `Response`.
        let array = unsafe { libc::calloc(count, size_of::<Response>()) };
        (!array.is_null()).then_some(Self { array: array.cast(), count })
    }

    /// Puts a copy of `text`, which has no zero byte, in the place of the `n`th answer, which is free.
    fn set(&mut self, n: usize, text: &[u8]) -> bool {
        if n >= self.count {
            return false;
        }
        // SAFETY: takes two numbers of any value.
        let copy = unsafe { libc::calloc(1, text.len() + 1) };
        if copy.is_null() {
            return false;
        }
        // SAFETY: `copy` is new and longer than `text` by a zero byte, which calloc made.
        unsafe { ptr::copy_nonoverlapping(text.as_ptr(), copy.cast(), text.len()) };
        // SAFETY: `n` is below the length of the array.
        let reply = unsafe { self.array.add(n) };
        // SAFETY: the array is ours alone.
        unsafe { (*reply).text = copy.cast() };
        true
    }

    fn give_away(mut self) -> *mut Response {
        std::mem::replace(&mut self.array, ptr::null_mut())
    }
}

impl Drop for Replies {
    fn drop(&mut self) {
        if self.array.is_null() {
            return;
        }
        // SAFETY: the array is ours, has `count` elements, and all of it was set by calloc or `set`.
        let replies = unsafe { slice::from_raw_parts_mut(self.array, self.count) };
        for reply in replies.iter().filter(|r| !r.text.is_null()) {
            // SAFETY: `set` made it, and it ends in a zero byte.
            let length = unsafe { libc::strlen(reply.text) };
            // SAFETY: so many bytes are its text, which nobody else knows of.
            let text = unsafe { slice::from_raw_parts_mut(reply.text.cast::<u8>(), length) };
            text.zeroize();
            // SAFETY: calloc made it; nobody has its address after this.
            unsafe { libc::free(reply.text.cast()) };
        }
        // SAFETY: calloc made it; it is not used after this.
        unsafe { libc::free(self.array.cast()) };
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::CStr;

    use super::*;

    /// What these prompts are answered: the code, and the texts.
    fn ask(styles: &[c_int]) -> (c_int, Vec<Option<String>>) {
        let messages: Vec<_> =
            styles.iter().map(|&style| Message { style, text: c"Say".as_ptr() }).collect();
        let mut pointers: Vec<_> = messages.iter().map(ptr::from_ref).collect();
        let answer = Answer(b"secret");
        let mut responses = ptr::null_mut();
        let code = converse(
            styles.len() as c_int,
            pointers.as_mut_ptr(),
            &raw mut responses,
            ptr::from_ref(&answer).cast_mut().cast(),
        );
        if responses.is_null() {
            return (code, Vec::new());
        }
        let replies = Replies { array: responses, count: styles.len() };
        // SAFETY: `converse` made an array of this length.
        let array = unsafe { slice::from_raw_parts(replies.array, replies.count) };
        let text = |r: &Response| {
            // SAFETY: a text that `converse` made, as long as `replies` is there.
            (!r.text.is_null()).then(|| unsafe { CStr::from_ptr(r.text) }.to_str().unwrap().into())
        };
        (code, array.iter().map(text).collect())
    }

    #[test]
    fn only_what_is_not_shown_gets_the_password() {
        let secret = Some("secret".to_owned());
        assert_eq!(ask(&[1]), (PAM_SUCCESS, vec![secret.clone()]));
        assert_eq!(ask(&[4, 1, 3]), (PAM_SUCCESS, vec![None, secret, None]));
        // A prompt that shows what is typed, radio buttons, binary, none of these.
        for style in [2, 5, 7, 0, -1, c_int::MAX] {
            assert_eq!(ask(&[1, style]), (PAM_CONV_ERR, Vec::new()), "{style}");
        }
    }

    #[test]
    fn numbers_of_messages_that_make_no_sense() {
        assert_eq!(ask(&[]), (PAM_CONV_ERR, Vec::new()));
        assert_eq!(ask(&[1; 33]), (PAM_CONV_ERR, Vec::new()));
        assert_eq!(ask(&[1; 32]).1.len(), 32);
    }
}
