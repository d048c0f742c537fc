//! Random statements and expressions, as text. Locals `$a $b` are i32, `$c $d` i64, `$e` f32, `$f` f64; `$p` points at
//! the payload, and `$n` counts loops.

use crate::choices::Choices;

/// Statements of one body, at most.
const STATEMENTS: u64 = 8;
/// Nesting of statements.
const DEPTH: u32 = 2;

pub(super) struct Code<'c, 'b> {
    choices: &'c mut Choices<'b>,
    /// Tables and segments may be changed.
    tables: bool,
    /// `memory.grow` instructions that this function may still hold.
    grows: u32,
    /// A loop counts already.
    looping: bool,
}

impl<'c, 'b> Code<'c, 'b> {
    pub fn new(choices: &'c mut Choices<'b>, tables: bool) -> Self {
        Self { choices, tables, grows: 2, looping: false }
    }

    pub fn body(&mut self) -> String {
        self.statements(DEPTH)
    }

    fn statements(&mut self, depth: u32) -> String {
        (0..1 + self.choices.below(STATEMENTS)).map(|_| self.statement(depth) + "\n").collect()
    }

    fn statement(&mut self, depth: u32) -> String {
        match self.choices.below(24) {
            0 => format!("(local.set $a {})", self.i32(3)),
            1 => format!("(local.set $c {})", self.i64(3)),
            2 => format!("(local.set $e {})", self.f32(3)),
            3 => format!("(local.set $f {})", self.f64(3)),
            4 => format!("(local.set $b {})", self.i32(2)),
            5 => format!("(local.set $d {})", self.i64(2)),
            6 => format!("(global.set $g0 {})", self.i32(2)),
            7 => format!("(global.set $g1 {})", self.i64(2)),
            8 => format!("(global.set $g2 {})", self.f32(2)),
            9 => format!("(global.set $g3 {})", self.f64(2)),
            10..=13 => self.store(),
            14 => self.bulk(),
            15 => self.table(),
            16 => format!("(drop {})", self.i32(3)),
            17 => self.host(),
            18 if depth > 0 => {
                format!("(if {} (then {}) (else {}))", self.i32(2), self.statements(depth - 1), self.statements(0))
            }
            19 if depth > 0 && !self.looping => self.repeat(depth),
            20 if depth > 0 => {
                let inner = self.statements(depth - 1);
                format!("(block $x {inner} (br_if $x {}) {})", self.i32(2), self.statements(0))
            }
            21 if self.choices.once_in(12) => "unreachable".to_owned(),
            22 if self.grows > 0 && self.choices.once_in(4) => {
                self.grows -= 1;
                let by = *self.choices.pick(&[&"0", &"1", &"-1", &"20"]);
                format!("(local.set $b (memory.grow (i32.const {by})))")
            }
            23 => {
                let reference = *self.choices.pick(&[&"(ref.func $h1)", &"(ref.null func)"]);
                format!("(global.set $r {reference})")
            }
            _ => "(nop)".to_owned(),
        }
    }

    fn repeat(&mut self, depth: u32) -> String {
        self.looping = true;
        let inner = self.statements(depth - 1);
        self.looping = false;
        let times = 1 + self.choices.below(20);
        format!(
            "(local.set $n (i32.const {times})) (loop $l {inner}
            (br_if $l (local.tee $n (i32.sub (local.get $n) (i32.const 1)))))"
        )
    }

    /// An address: mostly one inside memory.
    fn address(&mut self) -> String {
        match self.choices.below(8) {
            0 => "(local.get $p)".to_owned(),
            1 => format!("(i32.const {})", self.choices.below(65_536)),
            2 => format!("(i32.const {})", 65_500 + self.choices.below(50)),
            3 => format!("(i32.const {})", self.choices.below(256)),
            7 if self.choices.once_in(6) => self.i32(2),
            _ => format!("(i32.and {} (i32.const 0x7fff))", self.i32(2)),
        }
    }

    fn length(&mut self) -> String {
        if self.choices.once_in(5) {
            return format!("(i32.and {} (i32.const 0x3fff))", self.i32(1));
        }
        format!("(i32.const {})", self.choices.below(300))
    }

    fn store(&mut self) -> String {
        let (address, offset) = (self.address(), self.choices.below(40));
        match self.choices.below(4) {
            0 => {
                let store = self.choices.pick(&["i32.store", "i32.store8", "i32.store16"]);
                format!("({store} offset={offset} {address} {})", self.i32(2))
            }
            1 => {
                let store = self.choices.pick(&["i64.store", "i64.store8", "i64.store16", "i64.store32"]);
                format!("({store} offset={offset} {address} {})", self.i64(2))
            }
            2 => format!("(f32.store offset={offset} {address} {})", self.f32(2)),
            _ => format!("(f64.store offset={offset} {address} {})", self.f64(2)),
        }
    }

    fn bulk(&mut self) -> String {
        match self.choices.below(3) {
            0 => format!("(memory.fill {} {} {})", self.address(), self.i32(1), self.length()),
            1 => format!("(memory.copy {} {} {})", self.address(), self.address(), self.length()),
            _ => {
                let len = self.choices.below(13);
                format!("(memory.init $d {} (i32.const 0) (i32.const {len}))", self.address())
            }
        }
    }

    fn table(&mut self) -> String {
        if !self.tables {
            return "(drop (table.size $t))".to_owned();
        }
        let index = self.choices.below(6);
        match self.choices.below(6) {
            0 => format!("(table.set $t (i32.const {index}) (ref.func $h2))"),
            1 => format!("(table.set $t (i32.const {index}) (table.get $t (i32.and {} (i32.const 3))))", self.i32(1)),
            2 => format!("(table.fill $t (i32.const {index}) (ref.null func) (i32.const {}))", self.choices.below(3)),
            3 => format!("(table.copy $t $t (i32.const {index}) (i32.const 1) (i32.const {}))", self.choices.below(3)),
            4 => format!("(table.init $t $e (i32.const {index}) (i32.const 0) (i32.const {}))", self.choices.below(3)),
            _ => (*self.choices.pick(&[&"(elem.drop $e)", &"(data.drop $d)"])).to_owned(),
        }
    }

    /// A host call, with arguments that are mostly good.
    fn host(&mut self) -> String {
        let topic = *self.choices.pick(&[&"(i32.const 16) (i32.const 5)", &"(i32.const 21) (i32.const 5)"]);
        let key = format!("(i32.const {}) (i32.const {})", 16 + self.choices.below(12), self.choices.below(5));
        let key =
            *self.choices.pick(&[&"(i32.const 26) (i32.const 6)", &"(i32.const 32) (i32.const 3)", &key.as_str()]);
        let (address, length) = (self.address(), self.length());
        let call = match self.choices.below(8) {
            0 => format!("emit {topic} {address} {length}"),
            1 => format!("emit {address} {length} {topic}"),
            2 => return format!("(call $log {} {address} {length})", self.i32(1)),
            3 => format!("random {address} {length}"),
            4 => format!("state_get {key} {address} {length}"),
            5 => format!("state_set {key} {address} {length}"),
            6 => format!("state_delete {key}"),
            _ => format!("config_get {key} {address} {length}"),
        };
        format!("(local.set $b (call ${call}))")
    }

    pub fn i32(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.choices.below(6) {
                0 => format!("(i32.const {})", self.choices.below(10)),
                1 => format!("(i32.const {})", self.choices.pick(&["-1", "-2147483648", "2147483647", "65535", "256"])),
                2 => "(local.get $a)".to_owned(),
                3 => "(local.get $b)".to_owned(),
                4 => "(global.get $g0)".to_owned(),
                _ => "(global.get $g4)".to_owned(),
            };
        }
        let deeper = depth - 1;
        match self.choices.below(10) {
            0 => self.i32(0),
            1 => {
                let load =
                    self.choices.pick(&["i32.load", "i32.load8_u", "i32.load8_s", "i32.load16_u", "i32.load16_s"]);
                format!("({load} {})", self.address())
            }
            2 | 3 => {
                let op = self.choices.pick(BINARY_I32);
                format!("(i32.{op} {} {})", self.i32(deeper), self.i32(deeper))
            }
            4 => {
                let op = self.choices.pick(&["clz", "ctz", "popcnt", "eqz", "extend8_s", "extend16_s"]);
                format!("(i32.{op} {})", self.i32(deeper))
            }
            5 => self.comparison(deeper),
            6 => match self.choices.below(5) {
                0 => format!("(i32.wrap_i64 {})", self.i64(deeper)),
                1 => format!("(i32.reinterpret_f32 {})", self.f32(deeper)),
                2 => format!("(i32.trunc_sat_f64_{} {})", self.sign(), self.f64(deeper)),
                3 if self.choices.once_in(4) => format!("(i32.trunc_f32_{} {})", self.sign(), self.f32(deeper)),
                _ => format!("(i32.trunc_sat_f32_{} {})", self.sign(), self.f32(deeper)),
            },
            7 => format!("(select {} {} {})", self.i32(deeper), self.i32(deeper), self.i32(deeper)),
            8 => "(memory.size)".to_owned(),
            _ => format!("(ref.is_null (table.get $t (i32.const {})))", self.choices.below(6)),
        }
    }

    fn comparison(&mut self, depth: u32) -> String {
        match self.choices.below(4) {
            0 => {
                let op = self.choices.pick(INTEGER_COMPARISONS);
                format!("(i32.{op} {} {})", self.i32(depth), self.i32(depth))
            }
            1 => {
                let op = self.choices.pick(INTEGER_COMPARISONS);
                format!("(i64.{op} {} {})", self.i64(depth), self.i64(depth))
            }
            2 => {
                let op = self.choices.pick(FLOAT_COMPARISONS);
                format!("(f32.{op} {} {})", self.f32(depth), self.f32(depth))
            }
            _ => {
                let op = self.choices.pick(FLOAT_COMPARISONS);
                format!("(f64.{op} {} {})", self.f64(depth), self.f64(depth))
            }
        }
    }

    fn sign(&mut self) -> &'static str {
        self.choices.pick(&["s", "u"])
    }

    pub fn i64(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.choices.below(5) {
                0 => format!("(i64.const {})", self.choices.below(100)),
                1 => format!("(i64.const {})", self.choices.pick(&["-1", "-9223372036854775808", "4294967296"])),
                2 => "(local.get $c)".to_owned(),
                3 => "(local.get $d)".to_owned(),
                _ => "(global.get $g1)".to_owned(),
            };
        }
        let deeper = depth - 1;
        match self.choices.below(9) {
            0 => self.i64(0),
            1 => {
                let load =
                    self.choices.pick(&["i64.load", "i64.load8_u", "i64.load16_s", "i64.load32_u", "i64.load32_s"]);
                format!("({load} {})", self.address())
            }
            2 | 3 => {
                let op = self.choices.pick(BINARY_I32);
                format!("(i64.{op} {} {})", self.i64(deeper), self.i64(deeper))
            }
            4 => {
                let op = self.choices.pick(&["clz", "ctz", "popcnt", "extend8_s", "extend32_s"]);
                format!("(i64.{op} {})", self.i64(deeper))
            }
            5 => match self.choices.below(3) {
                0 => format!("(i64.extend_i32_{} {})", self.sign(), self.i32(deeper)),
                1 => format!("(i64.reinterpret_f64 {})", self.f64(deeper)),
                _ => format!("(i64.trunc_sat_f64_{} {})", self.sign(), self.f64(deeper)),
            },
            6 => "(call $now_ms)".to_owned(),
            7 => format!("(call $h{} {} {})", self.choices.below(super::HELPERS), self.i32(deeper), self.i64(deeper)),
            _ => format!(
                "(call_indirect $t (type $helper) {} {} (i32.const {}))",
                self.i32(deeper),
                self.i64(deeper),
                // Sometimes a null, or outside the table.
                if self.choices.once_in(8) { self.choices.below(8) } else { 1 + self.choices.below(3) }
            ),
        }
    }

    fn f32(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.choices.below(4) {
                0 => format!("(f32.const {})", self.choices.pick(FLOATS)),
                1 => "(local.get $e)".to_owned(),
                _ => "(global.get $g2)".to_owned(),
            };
        }
        let deeper = depth - 1;
        match self.choices.below(7) {
            0 => self.f32(0),
            1 => format!("(f32.load {})", self.address()),
            2 | 3 => {
                let op = self.choices.pick(BINARY_FLOAT);
                format!("(f32.{op} {} {})", self.f32(deeper), self.f32(deeper))
            }
            4 => {
                let op = self.choices.pick(UNARY_FLOAT);
                format!("(f32.{op} {})", self.f32(deeper))
            }
            5 => format!("(f32.demote_f64 {})", self.f64(deeper)),
            _ => format!("(f32.convert_i64_{} {})", self.sign(), self.i64(deeper)),
        }
    }

    fn f64(&mut self, depth: u32) -> String {
        if depth == 0 {
            return match self.choices.below(4) {
                0 => format!("(f64.const {})", self.choices.pick(FLOATS)),
                1 => "(local.get $f)".to_owned(),
                _ => "(global.get $g3)".to_owned(),
            };
        }
        let deeper = depth - 1;
        match self.choices.below(7) {
            0 => self.f64(0),
            1 => format!("(f64.load {})", self.address()),
            2 | 3 => {
                let op = self.choices.pick(BINARY_FLOAT);
                format!("(f64.{op} {} {})", self.f64(deeper), self.f64(deeper))
            }
            4 => {
                let op = self.choices.pick(UNARY_FLOAT);
                format!("(f64.{op} {})", self.f64(deeper))
            }
            5 => format!("(f64.promote_f32 {})", self.f32(deeper)),
            _ => format!("(f64.convert_i32_{} {})", self.sign(), self.i32(deeper)),
        }
    }
}

const BINARY_I32: &[&str] = &[
    "add", "sub", "mul", "and", "or", "xor", "shl", "shr_s", "shr_u", "rotl", "rotr", "div_u", "rem_u", "div_s",
    "rem_s",
];
const INTEGER_COMPARISONS: &[&str] = &["eq", "ne", "lt_s", "lt_u", "gt_s", "gt_u", "le_s", "le_u", "ge_s", "ge_u"];
const FLOAT_COMPARISONS: &[&str] = &["eq", "ne", "lt", "gt", "le", "ge"];
const BINARY_FLOAT: &[&str] = &["add", "sub", "mul", "div", "min", "max", "copysign"];
const UNARY_FLOAT: &[&str] = &["abs", "neg", "ceil", "floor", "trunc", "nearest", "sqrt"];
const FLOATS: &[&str] = &["0", "1", "-0", "0.5", "-1.5", "1e30", "inf", "-inf", "nan", "1e-40", "4294967296.5"];
