//! Typed functions, called by name: `littoral function invoke typed --call 'add(1, 2)'`.

wit_bindgen::generate!({ world: "typed", path: "wit" });

struct Typed;

export!(Typed);

impl Guest for Typed {
    fn add(a: i32, b: i32) -> i32 {
        a.wrapping_add(b)
    }

    fn greet(name: String) -> String {
        format!("Hello, {name}!")
    }

    fn fib(n: u32) -> u64 {
        /// The last number that fits 64 bits.
        const MAX: u32 = 93;

        assert!(n <= MAX, "fib({n}) does not fit 64 bits; the largest is fib({MAX})");
        let (mut current, mut next) = (0_u64, 1_u64);
        for _ in 0..n {
            (current, next) = (next, current.wrapping_add(next));
        }
        current
    }
}
