#![no_main]

eyot_test_fuzz_guided::reader!(line);
