//! New inputs from old ones.

/// The most bytes of an input.
pub const MAX_BYTES: usize = 16 << 10;

/// Chance that can be repeated.
#[derive(Debug)]
pub struct Random(u64);

impl Random {
    /// From a seed.
    pub fn new(seed: u64) -> Self {
        // Any state but zero will do.
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0.wrapping_mul(0x2545_f491_4f6c_dd1d)
    }

    /// A number from 0 to below `end`.
    pub fn below(&mut self, end: usize) -> usize {
        ((self.next() >> 33) % end.max(1) as u64) as usize
    }
}

/// Numbers at which things change.
const EDGES: [u8; 9] = [0, 1, 0x0f, 0x10, 0x7f, 0x80, 0x81, 0xfe, 0xff];

/// Changes an input in a few places; `other` is another one, to take parts from.
pub fn mutate(input: &[u8], other: &[u8], random: &mut Random) -> Vec<u8> {
    let mut bytes = input.to_vec();
    // Mostly few: each change is one that may go wrong.
    for _ in 0..1 << random.below(5) {
        change(&mut bytes, other, random);
    }
    bytes.truncate(MAX_BYTES);
    bytes
}

fn change(bytes: &mut Vec<u8>, other: &[u8], random: &mut Random) {
    let place = random.below(bytes.len() + 1);
    let at = place.min(bytes.len().saturating_sub(1));
    match random.below(9) {
        0 if !bytes.is_empty() => bytes[at] ^= 1 << random.below(8),
        1 if !bytes.is_empty() => bytes[at] = random.below(256) as u8,
        2 if !bytes.is_empty() => bytes[at] = EDGES[random.below(EDGES.len())],
        3 if !bytes.is_empty() => bytes[at] = bytes[at].wrapping_add(random.below(33) as u8).wrapping_sub(16),
        4 => {
            let new = (0..1 + random.below(8)).map(|_| random.below(256) as u8).collect::<Vec<_>>();
            bytes.splice(place..place, new);
        }
        5 if !bytes.is_empty() => {
            let end = (at + 1 + random.below(16)).min(bytes.len());
            bytes.drain(at..end);
        }
        // A piece of its own, somewhere else.
        6 if !bytes.is_empty() => {
            let from = random.below(bytes.len());
            let to = (from + 1 + random.below(32)).min(bytes.len());
            let piece = bytes[from..to].to_vec();
            bytes.splice(place..place, piece);
        }
        // A piece of the other, in place of as much or besides.
        7 if !other.is_empty() => {
            let from = random.below(other.len());
            let to = (from + 1 + random.below(64)).min(other.len());
            let end = if random.below(2) == 0 { (place + to - from).min(bytes.len()) } else { place };
            bytes.splice(place..end, other[from..to].iter().copied());
        }
        // The end of the other.
        _ => {
            let from = random.below(other.len() + 1);
            bytes.truncate(place);
            bytes.extend_from_slice(&other[from..]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_inputs_again_and_all_are_bounded() {
        let make = |seed| {
            let mut random = Random::new(seed);
            let mut inputs = vec![b"[component.a]".to_vec()];
            for _ in 0..2_000 {
                let (one, other) = (random.below(inputs.len()), random.below(inputs.len()));
                let next = mutate(&inputs[one], &inputs[other], &mut random);
                assert!(next.len() <= MAX_BYTES);
                inputs.push(next);
            }
            inputs
        };
        assert!(make(7) == make(7) && make(7) != make(8));
    }
}
