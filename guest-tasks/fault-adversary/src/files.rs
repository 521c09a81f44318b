//! Files, directories, links, in what was granted.

use wasip2::filesystem::preopens::get_directories;
use wasip2::filesystem::types::{
    Advice, Descriptor, DescriptorFlags, DirectoryEntryStream, NewTimestamp, OpenFlags, PathFlags,
};

use crate::exports::demo::adversary::programs::Operand::{Choice, Count, Size, Times};
use crate::machine::{Machine, text};
use crate::{Entry, entry};

pub const TABLE: &[Entry] = &[
    entry("directories", &[Times], |machine, _| {
        get_directories().into_iter().for_each(|(directory, _)| machine.keep(directory));
    }),
    entry("create", &[Times, Choice, Choice], |machine, numbers| {
        let Some(directory) = directory(numbers[0]) else { return };
        let name = name(machine, numbers[1]);
        let flags = DescriptorFlags::READ | DescriptorFlags::WRITE;
        if let Ok(file) = directory.open_at(PathFlags::empty(), &name, OpenFlags::CREATE, flags) {
            machine.keep(file);
        }
    }),
    entry("open", &[Times, Choice, Choice, Choice], |machine, numbers| {
        let Some(directory) = directory(numbers[0]) else { return };
        let name = name(machine, numbers[1]);
        let bits = numbers[2] as u8;
        let path = PathFlags::from_bits_truncate(bits >> 4);
        let opened = directory.open_at(
            path,
            &name,
            OpenFlags::from_bits_truncate(bits & 15),
            DescriptorFlags::READ | DescriptorFlags::from_bits_truncate(bits),
        );
        if let Ok(file) = opened {
            machine.keep(file);
        }
    }),
    entry("deep", &[Choice, Count, Size], |_, numbers| {
        // Directories in directories, each with a name of this length.
        let (Some(mut directory), name) = (directory(numbers[0]), long_name(numbers[2], 0)) else { return };
        for _ in 0..numbers[1] {
            let flags = DescriptorFlags::READ | DescriptorFlags::MUTATE_DIRECTORY;
            // It may be there already: what counts is that one can go on into it.
            let _ = directory.create_directory_at(&name);
            let Ok(inner) = directory.open_at(PathFlags::empty(), &name, OpenFlags::DIRECTORY, flags) else {
                return;
            };
            directory = inner;
        }
    }),
    entry("wide", &[Choice, Count, Size, Choice], |_, numbers| {
        // Files, directories or links with names of this length.
        let Some(directory) = directory(numbers[0]) else { return };
        for number in 0..numbers[1] {
            let name = long_name(numbers[2], number);
            let made = match numbers[3] % 3 {
                0 => directory.create_directory_at(&name),
                1 => directory.symlink_at(&text(numbers[2]), &name),
                _ => {
                    let flags = DescriptorFlags::WRITE;
                    directory.open_at(PathFlags::empty(), &name, OpenFlags::CREATE, flags).map(drop)
                }
            };
            if made.is_err() {
                return;
            }
        }
    }),
    entry("write", &[Times, Choice, Size, Size], |machine, numbers| {
        if let Some(file) = machine.find::<Descriptor>(numbers[0]) {
            let _ = file.write(text(numbers[1]).as_bytes(), numbers[2]);
        }
    }),
    entry("read", &[Times, Choice, Size, Size], |machine, numbers| {
        if let Some(file) = machine.find::<Descriptor>(numbers[0]) {
            let _ = file.read(numbers[1], numbers[2]);
        }
    }),
    entry("set-size", &[Times, Choice, Size], |machine, numbers| {
        machine.find::<Descriptor>(numbers[0]).map(|file| file.set_size(numbers[1]));
    }),
    entry("write-stream", &[Times, Choice, Size], |machine, numbers| {
        let Some(file) = machine.find::<Descriptor>(numbers[0]) else { return };
        if let Ok(stream) = file.write_via_stream(numbers[1]) {
            machine.keep(stream);
        }
    }),
    entry("append-stream", &[Times, Choice], |machine, numbers| {
        let Some(file) = machine.find::<Descriptor>(numbers[0]) else { return };
        if let Ok(stream) = file.append_via_stream() {
            machine.keep(stream);
        }
    }),
    entry("read-stream", &[Times, Choice, Size], |machine, numbers| {
        let Some(file) = machine.find::<Descriptor>(numbers[0]) else { return };
        if let Ok(stream) = file.read_via_stream(numbers[1]) {
            machine.keep(stream);
        }
    }),
    entry("list", &[Times, Choice], |machine, numbers| {
        let Some(directory) = directory(numbers[0]) else { return };
        if let Ok(list) = directory.read_directory() {
            machine.keep(list);
        }
    }),
    entry("list-entry", &[Times, Choice], |machine, numbers| {
        machine.find::<DirectoryEntryStream>(numbers[0]).map(DirectoryEntryStream::read_directory_entry);
    }),
    entry("link", &[Times, Choice, Choice, Choice], |machine, numbers| {
        let (Some(from), Some(to)) = (directory(numbers[0]), directory(numbers[0] / 2)) else { return };
        let (old, new) = (name(machine, numbers[1]), name(machine, numbers[2]));
        let _ = from.link_at(PathFlags::empty(), &old, &to, &new);
    }),
    entry("rename", &[Times, Choice, Choice, Choice], |machine, numbers| {
        let (Some(from), Some(to)) = (directory(numbers[0]), directory(numbers[0] / 2)) else { return };
        let _ = from.rename_at(&name(machine, numbers[1]), &to, &name(machine, numbers[2]));
    }),
    entry("symlink", &[Times, Choice, Choice, Choice], |machine, numbers| {
        let Some(directory) = directory(numbers[0]) else { return };
        let _ = directory.symlink_at(&name(machine, numbers[1]), &name(machine, numbers[2]));
        let _ = directory.readlink_at(&name(machine, numbers[2]));
    }),
    entry("remove", &[Times, Choice, Choice], |machine, numbers| {
        let Some(directory) = directory(numbers[0]) else { return };
        let name = name(machine, numbers[1]);
        let _ = directory.unlink_file_at(&name).or_else(|_| directory.remove_directory_at(&name));
    }),
    entry("stat", &[Times, Choice, Choice], |machine, numbers| {
        let Some(directory) = directory(numbers[0]) else { return };
        let name = name(machine, numbers[1]);
        let _ = (directory.stat_at(PathFlags::SYMLINK_FOLLOW, &name), directory.stat());
        let _ = (directory.metadata_hash_at(PathFlags::empty(), &name), directory.metadata_hash());
        let _ = (directory.get_flags(), directory.get_type(), directory.is_same_object(&directory));
    }),
    entry("touch", &[Times, Choice, Choice], |machine, numbers| {
        let Some(directory) = directory(numbers[0]) else { return };
        let (now, name) = (NewTimestamp::Now, name(machine, numbers[1]));
        let _ = directory.set_times_at(PathFlags::empty(), &name, now, NewTimestamp::NoChange);
        let _ = machine.find::<Descriptor>(numbers[1]).map(|file| file.set_times(now, now));
    }),
    entry("sync", &[Times, Choice, Size], |machine, numbers| {
        let Some(file) = machine.find::<Descriptor>(numbers[0]) else { return };
        let _ = (file.sync_data(), file.sync(), file.advise(numbers[1], numbers[1], Advice::WillNeed));
    }),
];

/// One of the granted directories.
fn directory(choice: u64) -> Option<Descriptor> {
    let mut granted = get_directories();
    let place = (choice as usize).checked_rem(granted.len())?;
    Some(granted.swap_remove(place).0)
}

/// A name: ordinary ones, which repeat, names of things that are no files, and ways out.
fn name(machine: &Machine, choice: u64) -> String {
    match choice % 32 {
        0 => "..".to_owned(),
        1 => "/etc/passwd".to_owned(),
        2 => ".".to_owned(),
        3 => "pipe".to_owned(),
        4 => "socket".to_owned(),
        5 => text(10_000),
        6 => "a/../../b".to_owned(),
        7 => format!("own-{}", machine.handles.len()),
        8 => String::new(),
        number => format!("file-{}", number % 8),
    }
}

/// A name of this length, as far as a file system has such names, that differs for each number.
fn long_name(size: u64, number: u64) -> String {
    let number = number.to_string();
    text((size.min(255)).saturating_sub(number.len() as u64)) + &number
}
