//! The event files of a run, decoded here from the bytes up (framing, checksums, protocol buffers) and compared with the
//! run's CSV files. `tests/tensorboard_reader.py` does the same with TensorBoard's own reader.

use crate::*;
use std::collections::{BTreeMap, BTreeSet};

/// CRC-32C (Castagnoli), bit by bit.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = !0u32;
    for &byte in bytes {
        crc ^= u32::from(byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 };
        }
    }
    !crc
}

fn masked(bytes: &[u8]) -> u32 {
    crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}

/// The payloads of a TFRecord file, each with both of its checksums verified.
fn records(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut payloads = Vec::new();
    while !bytes.is_empty() {
        let (head, rest) = bytes.split_at(12);
        let length = u64::from_le_bytes(head[..8].try_into().expect("eight bytes")) as usize;
        assert_eq!(u32::from_le_bytes(head[8..].try_into().expect("four bytes")), masked(&head[..8]), "checksum of a length");
        let (payload, rest) = rest.split_at(length);
        let (check, rest) = rest.split_at(4);
        assert_eq!(u32::from_le_bytes(check.try_into().expect("four bytes")), masked(payload), "checksum of a payload");
        payloads.push(payload);
        bytes = rest;
    }
    payloads
}

/// A field of a message: a number as its bits, or the bytes of what has a length.
#[derive(Debug, Clone, PartialEq)]
enum Field {
    Bits(u64),
    Bytes(Vec<u8>),
}

fn varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().expect("a varint ends");
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            break;
        }
    }
    value
}

fn split<'a>(bytes: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = bytes.split_at(count);
    *bytes = rest;
    taken
}

/// The fields of a message by number; of a repeated one, the last.
fn message(mut bytes: &[u8]) -> BTreeMap<u64, Field> {
    let mut fields = BTreeMap::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let little = |bytes: &[u8]| bytes.iter().rev().fold(0u64, |bits, &byte| bits << 8 | u64::from(byte));
        let field = match key & 7 {
            0 => Field::Bits(varint(&mut bytes)),
            1 => Field::Bits(little(split(&mut bytes, 8))),
            2 => {
                let length = varint(&mut bytes) as usize;
                Field::Bytes(split(&mut bytes, length).to_vec())
            }
            5 => Field::Bits(little(split(&mut bytes, 4))),
            other => panic!("wire type {other}"),
        };
        fields.insert(key >> 3, field);
    }
    fields
}

fn bytes_of(fields: &BTreeMap<u64, Field>, number: u64) -> Option<Vec<u8>> {
    match fields.get(&number)? {
        Field::Bytes(bytes) => Some(bytes.clone()),
        Field::Bits(_) => None,
    }
}

fn text_of(fields: &BTreeMap<u64, Field>, number: u64) -> String {
    String::from_utf8(bytes_of(fields, number).unwrap_or_default()).expect("UTF-8")
}

fn bits_of(fields: &BTreeMap<u64, Field>, number: u64) -> u64 {
    match fields.get(&number) {
        Some(Field::Bits(bits)) => *bits,
        _ => 0,
    }
}

fn doubles(bytes: &[u8]) -> Vec<f64> {
    bytes.chunks(8).map(|number| f64::from_le_bytes(number.try_into().expect("eight bytes"))).collect()
}

#[derive(Debug, Default)]
struct Events {
    scalars: BTreeMap<String, Vec<(u64, f32)>>,
    histograms: BTreeSet<String>,
    text: String,
}

fn read_events(directory: &Path) -> Events {
    let names: Vec<_> = fs::read_dir(directory).expect("a directory").flatten().map(|entry| entry.path()).collect();
    assert_eq!(names.len(), 1, "{names:?}");
    let name = names[0].file_name().expect("a name").to_string_lossy().into_owned();
    let parts: Vec<_> = name.split('.').collect();
    assert!(name.starts_with("events.out.tfevents.") && parts[3].parse::<u64>().is_ok() && name.ends_with(".0"), "{name}");
    let bytes = fs::read(&names[0]).expect("a file");
    let mut events = Events::default();
    for (index, payload) in records(&bytes).into_iter().enumerate() {
        let event = message(payload);
        assert!(f64::from_bits(bits_of(&event, 1)) > 1.6e9, "wall time in seconds");
        if index == 0 {
            assert_eq!(text_of(&event, 3), "brain.Event:2");
            continue;
        }
        let step = bits_of(&event, 2);
        let value = message(&bytes_of(&message(&bytes_of(&event, 5).expect("a summary")), 1).expect("a value"));
        let plugin = message(&bytes_of(&message(&bytes_of(&value, 9).expect("metadata")), 1).expect("plugin data"));
        let tag = text_of(&value, 1);
        match text_of(&plugin, 1).as_str() {
            "scalars" => events.scalars.entry(tag).or_default().push((step, f32::from_bits(bits_of(&value, 2) as u32))),
            "histograms" => {
                let histogram = message(&bytes_of(&value, 5).expect("a histogram"));
                let [limits, buckets] = [6, 7].map(|field| doubles(&bytes_of(&histogram, field).expect("packed numbers")));
                let [least, most, count] = [1, 2, 3].map(|field| f64::from_bits(bits_of(&histogram, field)));
                assert_eq!(limits.len(), buckets.len());
                assert_eq!(buckets.iter().sum::<f64>(), count, "{tag}");
                assert!(least <= most && limits.windows(2).all(|pair| pair[0] < pair[1]), "{tag}");
                assert!(limits[limits.len() - 1] >= most, "{tag}");
                events.histograms.insert(tag);
            }
            "text" => events.text = text_of(&message(&bytes_of(&value, 8).expect("a tensor")), 8),
            other => panic!("plugin {other:?} of {tag}"),
        }
    }
    events
}

fn table(path: &Path) -> Vec<BTreeMap<String, String>> {
    let mut lines = rows(path).into_iter();
    let header = lines.next().expect("a header");
    lines.map(|row| header.iter().cloned().zip(row).collect()).collect()
}

#[test]
fn event_files_hold_the_numbers_of_the_csv_files() {
    assert_eq!(crc32c(b"123456789"), 0xe306_9283, "the check value of CRC-32C");
    let directory = scratch();
    let arguments = "train --agents 2 --envs 4 --batch-size 16 --learning-starts 64 --random-steps 100 --actor-hidden 8,8 \
        --critic-hidden 8,8 --final-episodes 8 --eval-episodes 2 --eval-every 800 --log-every 400 --steps 1700 --quiet --out run";
    succeeds(ddpg(directory.path(), &arguments.split_whitespace().collect::<Vec<_>>()));
    let run = directory.path().join("run");
    for agent in 0..2 {
        let events = read_events(&run.join(format!("tensorboard/agent-000{agent}")));
        let mut expected: BTreeMap<String, Vec<(u64, f32)>> = BTreeMap::new();
        for file in ["metrics.csv", "evaluations.csv", "episodes.csv"] {
            for row in table(&run.join(file)).iter().filter(|row| row["agent"] == agent.to_string()) {
                let number = |column: &str| row[column].parse::<u64>().expect("a whole number");
                let mut put = |tag: &str, step, cell: &str| {
                    // an empty cell is a number that is not known yet
                    if let Ok(value) = cell.parse::<f64>() {
                        expected.entry(tag.to_owned()).or_default().push((step, value as f32));
                    }
                };
                for (column, cell) in row.iter().filter(|(column, _)| column.contains('/') && *column != "charts/qmax") {
                    put(column, number("step"), cell);
                }
                if file == "episodes.csv" {
                    put("Reward", number("episode"), &row["charts/episodic_return"]);
                    put("Qmax Value", number("episode"), &row["charts/qmax"]);
                }
            }
        }
        assert_eq!(events.scalars, expected, "agent {agent}");
        // 8 episodes by step 1600 of four environments; they end together, and with the same mean of the largest values
        let ends: Vec<u64> = expected["charts/episodic_return"].iter().map(|(step, _)| *step).collect();
        assert_eq!(ends, [[800; 4], [1600; 4]].concat());
        let qmax: Vec<f32> = expected["Qmax Value"].iter().map(|(_, value)| *value).collect();
        assert!(qmax[0] != 0.0 && qmax[..4].iter().all(|value| *value == qmax[0]), "{qmax:?}");
        assert!(qmax[4] != qmax[0] && qmax[4..].iter().all(|value| *value == qmax[4]), "{qmax:?}");
        for tag in ["weights/actor.layer1.weight", "weights/critic.output.bias", "actions/0"] {
            assert!(events.histograms.contains(tag), "{tag} is not among {:?}", events.histograms);
        }
        assert!(events.text.contains("|gamma|0.99") && events.text.starts_with("|setting|value|"), "{}", events.text);
    }
}
