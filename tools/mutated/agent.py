"""What the rooms of the agent share."""

from tools.mutated.mutation import AHEAD, BACK, CGROUPS, LEDGER, LETTING_GO, REAL, RESTORED_SERVER, Mutation

_COMPILED = ("tests/unit/agent/test_compiled.py",)

MUTATIONS = (
    # -- the night
    Mutation(
        "late brief",
        "agent/ebbtide_agent/cloud.py",
        "if time.monotonic() >= deadline:\n                    why",
        "if True:\n                    why",
        "that a machine waits for its brief",
        ("tests/unit/agent/test_late_briefs.py",),
    ),
    # -- a tree becomes real
    Mutation(
        "a tar's keyword",
        "agent/ebbtide_agent/pax.py",
        '.replace("%", "%25").replace("=", "%3D")',
        "",
        "that an attribute comes back under its own name, whatever is in that",
        ("tests/unit/test_past_tar.py",),
    ),
    Mutation(
        "real tree: an ACL that is none",
        "agent/ebbtide_agent/fakesuper.py",
        "            if len(acl) > _NO_MORE_THAN_A_MODE:\n",
        "            if acl:\n",
        "that what has lost its ACL is no difference to a drill",
        REAL,
    ),
    # -- a restored server is somebody's again
    Mutation(
        "restore: our own mark",
        "agent/ebbtide_agent/cloud.py",
        "socket_options=marked",
        "socket_options=[]",
        "that the agent gets credentials for its report after the image was kept from them",
        RESTORED_SERVER,
    ),
    # -- the scan ahead, compression, and the gate that is compiled
    Mutation(
        "orders: given once and for all",
        "agent/ebbtide_agent/orders.py",
        "            self.give()\n",
        "            pass\n",
        "that who asks again is told again",
        ("tests/unit/agent/test_orders.py",),
    ),
    Mutation(
        "beside: ended with its block",
        "agent/ebbtide_agent/beside.py",
        "for number in (signal.SIGTERM, signal.SIGKILL):",
        "for number in (0,):",
        "that no scan goes on when nobody waits for it",
        AHEAD,
    ),
    Mutation(
        "beside: ended though it does not hear",
        "agent/ebbtide_agent/beside.py",
        "(signal.SIGTERM, signal.SIGKILL)",
        "(signal.SIGTERM,)",
        "that a scan at a mount that does not answer holds nobody up",
        ("tests/unit/agent/test_beside.py",),
    ),
    Mutation(
        "beside: with what it has begun",
        "agent/ebbtide_agent/beside.py",
        "signal.signal(number, _leave)",
        "signal.signal(number, signal.SIG_DFL)",
        "that a scan which is ended leaves none behind that holds the lock of the night",
        ("tests/unit/agent/test_beside.py",),
    ),
    Mutation(
        "beside: lets go of what is ours",
        "agent/ebbtide_agent/beside.py",
        "        _let_go_of_all_but(inward)\n",
        "",
        "that whoever waits for ever at a mount that does not answer holds no lock of a night for as long",
        ("tests/local/test_dead_mounts.py",),
    ),
    Mutation(
        "beside: a signal that comes meanwhile",
        "agent/ebbtide_agent/beside.py",
        "            signal.pthread_sigmask(signal.SIG_BLOCK, procs.ENDED_BY)\n",
        "            pass\n",
        "that whoever is told to stop while its scan is being ended leaves none behind",
        ("tests/unit/agent/test_beside.py",),
    ),
    Mutation(
        "compiled: made anew",
        "agent/ebbtide_agent/compiled.py",
        "    for left in (making, before):\n",
        "    for left in ():\n",
        "that what was compiled of an older agent is not started for a newer one",
        _COMPILED,
    ),
    Mutation(
        "compiled: only a file",
        "agent/ebbtide_agent/compiled.py",
        "return into if zipfile.is_zipfile(program) else program",
        "return into",
        "that a package is started as it is",
        _COMPILED,
    ),
    Mutation(
        "installed: root's program",
        "agent/ebbtide_agent/site.py",
        "if found.st_uid != 0 or found.st_mode & stat.S_IWOTH:",
        "if False:",
        "that root is not made to start what others may change",
        ("tests/unit/agent/test_installation.py",),
    ),
    # -- files back
    Mutation(
        "back: agreed to",
        "agent/ebbtide_agent/commands/agreeing.py",
        "    if not terminal.can_answer:\n",
        "    if not terminal.can_answer:\n        return\n    if False:\n",
        "that nothing changes where nobody can answer",
        BACK,
    ),
    # -- two servers that back each other up
    Mutation(
        "peer: days",
        "agent/ebbtide_agent/snapshots.py",
        "dates = sorted({_date_of(name) for name in snapshots})",
        "dates = sorted(_date_of(name) for name in snapshots)",
        "that many snapshots in one day let the days before go no sooner",
        ("tests/unit/agent/test_peer_nights.py",),
    ),
    # -- one at a time
    Mutation(
        "rotation: whole snapshots alone",
        "agent/ebbtide_agent/rotation.py",
        "        return whole_in(self.store)\n",
        "        return names_in(self.store)\n",
        "that what lacks its tree or its report is no base, and lets no other one go",
        ("tests/local/test_to_directory.py::test_a_dated_directory_without_its_tree_or_its_report_is_no_snapshot",),
    ),
    Mutation(
        "rotation: a tree there is",
        "agent/ebbtide_agent/rotation.py",
        "        if not self.store.making.is_dir():\n",
        "        if False:\n",
        "that what has no tree becomes no snapshot",
        ("tests/unit/agent/test_rotation.py",),
    ),
    Mutation(
        "volume: what a first write has left",
        "agent/ebbtide_agent/files.py",
        "ours = (_LOST_AND_FOUND, _making(first).name)",
        "ours = (_LOST_AND_FOUND,)",
        "that a volume whose first receiver was killed at once is taken by the next one",
        ("tests/unit/agent/test_receiver_volume.py",),
    ),
    # -- the receiver's night, and what is written of it
    Mutation(
        "scripts: ended with all it started",
        "agent/ebbtide_agent/procs.py",
        "        except subprocess.TimeoutExpired:\n            end_group(child)\n",
        "        except subprocess.TimeoutExpired:\n            child.kill()\n            child.wait()\n",
        "that nothing of a script which hangs goes on",
        ("tests/unit/agent/test_scripts.py::test_one_that_hangs_is_killed_with_all_it_started",),
    ),
    # -- the walls
    Mutation(
        "memory: a gate enters",
        "agent/ebbtide_agent/commands/gate.py",
        "cgroups.enter(options.host)",
        "pass",
        "that a receiver's gate is in its host's group before it hears a word",
        CGROUPS,
    ),
    Mutation(
        "memory: a peer's gate enters",
        "agent/ebbtide_agent/commands/peer_gate.py",
        "cgroups.enter(options.host)",
        "pass",
        "that a peer's gate is in its guest's group before it hears a word",
        CGROUPS,
    ),
    # -- file systems that break
    Mutation(
        "reports: where a receiver puts them",
        "agent/ebbtide_agent/report.py",
        'return f"reports/{run}/{nonce}/hosts/{host_id}.json" if',
        'return f"reports/{run}/hosts/{host_id}.json" if',
        "that a receiver knows no report of a night which was written before it",
        ("tests/attack/test_written_ahead.py",),
    ),
    Mutation(
        "manifests: under the run's nonce",
        "agent/ebbtide_agent/report.py",
        'name = f"{run}/{nonce}" if nonce else run',
        "name = run",
        "that manifests which a stolen role wrote ahead keep no night from its own",
        ("tests/attack/test_written_ahead.py",),
    ),
    Mutation(
        "a btrfs of small nodes",
        "agent/ebbtide_agent/volume.py",
        ', "-n", _NODE_BYTES',
        "",
        "that a night on btrfs writes no more than it has to, and a host knows what room it has for an attribute",
        ("tests/local/test_quotas.py::test_a_btrfs_has_room_for_an_attribute_as_long_as_its_nodes_and_no_longer",),
    ),
    Mutation(
        "a btrfs that is damaged",
        "agent/ebbtide_agent/volume.py",
        "if looked.exit_code == _BTRFS_ERRORS:",
        "if False:",
        "that a damaged btrfs is set aside, so that the night goes on from a snapshot",
        (
            "tests/local/test_quotas.py::test_a_btrfs_that_is_damaged_is_told_from_one_that_is_not_mounted_for_another_"
            "reason",
        ),
    ),
    Mutation(
        "volume: looked at as it lies",
        "agent/ebbtide_agent/whose.py",
        'volume.EXT4: "ro,noload"',
        'volume.EXT4: "ro"',
        "that a look at a volume which was cut off writes nothing, and finds what lies there",
        ("tests/local/test_whose_volume.py::test_of_a_volume_of_somebody_else_no_byte_changes_however_it_was_left",),
    ),
    Mutation(
        "volume: looked at as it lies, btrfs",
        "agent/ebbtide_agent/whose.py",
        'volume.BTRFS: "ro,rescue=nologreplay"',
        'volume.BTRFS: "ro"',
        "that the same is so of a btrfs",
        ("tests/local/test_whose_volume.py::test_of_a_btrfs_of_somebody_else_that_was_cut_off_no_byte_changes",),
    ),
    Mutation(
        "volume: looked at and only read",
        "agent/ebbtide_agent/whose.py",
        'procs.check(["blockdev", "--setro", str(device)])',
        "pass",
        "that the kernel does not go on deleting what somebody else's volume was cut off at deleting",
        ("tests/local/test_whose_volume.py::test_of_a_volume_of_somebody_else_no_byte_changes_however_it_was_left",),
    ),
    Mutation(
        "volume: seen by nobody",
        "agent/ebbtide_agent/whose.py",
        "            volume.check_unwritten(device, filesystem, why)",
        "            pass",
        "that a volume is not even checked of which nobody can see whose it is",
        (
            "tests/local/test_whose_volume.py::"
            "test_a_volume_of_which_nobody_can_see_whose_it_is_is_damaged_and_no_byte_of_it_changes",
        ),
    ),
    Mutation(
        "volume: a mark that is garbage",
        "agent/ebbtide_agent/whose.py",
        "        if found and found.fault:\n",
        "        if False:\n",
        "that a volume whose mark is garbage is set aside, and does not stop every night to come",
        (
            "tests/local/test_whose_volume.py::"
            "test_its_own_volume_whose_mark_is_garbage_is_damaged_and_nothing_on_it_is_destroyed",
        ),
    ),
    Mutation(
        "volume: a later version's mark",
        "agent/ebbtide_agent/whose.py",
        "        if found and found.schema > SCHEMA:\n",
        "        if False:\n",
        "that a sound volume is not taken by a version before the one that has marked it",
        (
            "tests/local/test_whose_volume.py::"
            "test_its_own_volume_that_a_later_version_has_marked_is_refused_and_not_set_aside",
        ),
    ),
    Mutation(
        "volume: a mark that the disk does not give",
        "agent/ebbtide_agent/whose.py",
        "if error.errno in volume.UNREADABLE or path not in",
        "if path not in",
        "that a volume is not set aside for an error of its disk's, which may be gone the next time",
        (
            "tests/local/test_whose_volume.py::"
            "test_of_its_own_volume_whose_mark_the_disk_does_not_give_it_is_not_said_that_it_is_damaged",
        ),
    ),
    Mutation(
        "volume: a mark that is a link",
        "agent/ebbtide_agent/whose.py",
        "os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK",
        "os.O_RDONLY | os.O_NONBLOCK",
        "that a mark is no link",
        (
            "tests/local/test_whose_volume.py::"
            "test_its_own_volume_whose_mark_is_garbage_is_damaged_and_nothing_on_it_is_destroyed",
        ),
    ),
    Mutation(
        "volume: a mark without an end",
        "agent/ebbtide_agent/whose.py",
        "    if len(content) > LARGEST_MARK:\n",
        "    if False:\n",
        "that no more of a mark is read than a mark has",
        (
            "tests/local/test_whose_volume.py::"
            "test_its_own_volume_whose_mark_is_garbage_is_damaged_and_nothing_on_it_is_destroyed",
        ),
    ),
    Mutation(
        "volume: another's mark, of another version",
        "agent/ebbtide_agent/whose.py",
        "if found and found.owner not in",
        "if found and not found.fault and found.owner not in",
        "that another receiver's volume is not set aside because another version has marked it",
        (
            "tests/local/test_whose_volume.py::"
            "test_a_volume_that_says_it_is_anothers_in_another_versions_words_is_refused_and_not_called_damaged",
        ),
    ),
    Mutation(
        "volume: a host's own, with trees",
        "agent/ebbtide_agent/whose.py",
        " and not any((self.mark.parent / name).exists() for name in _MARKS)",
        "",
        "that a host's own volume is not set aside as a receiver's",
        ("tests/local/test_whose_volume.py::test_a_hosts_own_volume_is_refused_and_not_called_damaged",),
    ),
    Mutation(
        "volume: a host's own, looked at before it is checked",
        "agent/ebbtide_agent/host/to_volume.py",
        "            look_first(self._device, self.paths.volume, found, claim)\n",
        "            pass\n",
        "that a host does not even check a volume which is another's",
        (
            "tests/local/test_to_volume.py::"
            "test_of_a_volume_that_is_not_this_hosts_no_byte_changes_though_a_check_would_mend_it",
        ),
    ),
    Mutation(
        "what makes a guard blind",
        "agent/ebbtide_agent/manifest.py",
        "self._damage = str(fault)",
        "pass",
        "that an earlier manifest which cannot be read is told from none",
        ("tests/local/test_manifest.py",),
    ),
    Mutation(
        "a line that nobody reads again",
        "agent/ebbtide_agent/manifest_file.py",
        "if len(line) >= LONGEST_LINE:",
        "if False:",
        "that no manifest is written whose reader refuses it",
        ("tests/local/test_manifest.py::test_no_line_is_written_that_is_not_read_again",),
    ),
    Mutation(
        "a flood of attributes",
        "agent/ebbtide_agent/entry.py",
        "if room < 0:",
        "if False:",
        "that one entry's attributes fill neither the memory nor a manifest",
        ("tests/local/test_manifest.py", "tests/unit/agent/test_ledger.py"),
    ),
    Mutation(
        "restore: how long a gate is open",
        "agent/ebbtide_agent/commands/restore.py",
        "at_hand.until if at_hand.left is None else now + at_hand.left",
        "at_hand.until",
        "that a clock which is off costs no restore its patience",
        ("tests/unit/agent/test_restorable.py::test_a_restore_tries_as_long_as_somebody_is_there",),
    ),
    Mutation(
        "peer list: what is shut",
        "agent/ebbtide_agent/commands/peering.py",
        "return guest if guest.reads_until(moments.up()) else replace(guest, open_until=None, closes=None)",
        "return guest",
        "that what a restart has shut is not listed as open",
        (
            "tests/unit/agent/test_peering.py::"
            "test_what_was_open_when_the_machine_went_down_is_not_listed_as_open_by_any_time",
        ),
    ),
    Mutation(
        "letting go: tried again",
        "agent/ebbtide_agent/volume.py",
        "if ended.exit_code != 0 and time.monotonic() >= deadline:",
        "if ended.exit_code != 0:",
        "that a volume which is in use for a moment is let go all the same",
        (f"{LETTING_GO}::test_what_is_in_use_for_a_moment_is_tried_again",),
    ),
    Mutation(
        "letting go: mounted elsewhere",
        "agent/ebbtide_agent/volume.py",
        "os.O_RDONLY | os.O_EXCL",
        "os.O_RDONLY",
        "that a volume which a session keeps mounted is said to be so",
        (f"{LETTING_GO}::test_a_volume_that_stays_mounted_in_a_session_which_does_not_end_was_not_let_go",),
    ),
    Mutation(
        "a tree that cannot be read back",
        "agent/ebbtide_agent/manifest.py",
        "    except (OSError, ValueError) as fault:\n        raise Unreadable",
        "    except ZeroDivisionError as fault:\n        raise Unreadable",
        "that a night of a tree which cannot be read back has its report",
        (f"{LEDGER}::test_a_night_of_a_tree_that_cannot_be_read_back_has_its_report_and_is_partial",),
    ),
    Mutation(
        "a tree deeper than a path",
        "agent/ebbtide_agent/manifest.py",
        "        yield from walk(tree)\n    except OSError as fault:",
        "        yield from walk(tree)\n    except ZeroDivisionError as fault:",
        "that a night of a tree which cannot be walked has its report",
        (f"{LEDGER}::test_a_night_of_a_tree_that_cannot_be_read_back_has_its_report_and_is_partial",),
    ),
    Mutation(
        "a walk past what a path can say",
        "agent/ebbtide_agent/walk.py",
        "_NEAR = LONGEST_PATH - _LONGEST_NAME - 1",
        "_NEAR = 1 << 20",
        "that a path as long as a server may have one is proven here, where the tree's own comes before it",
        ("tests/local/test_push.py",),
    ),
    Mutation(
        "a walk no further than a server's path",
        "agent/ebbtide_agent/walk.py",
        "    if len(path) > LONGEST_PATH:\n",
        "    if False:\n",
        "that a tree which somebody has made without an end ends the walk",
        (f"{LEDGER}::test_a_night_of_a_tree_that_cannot_be_read_back_has_its_report_and_is_partial",),
    ),
    Mutation(
        "an image without btrfs-progs",
        "agent/ebbtide_agent/volume.py",
        "if lifted.exit_code == procs.NOT_FOUND:",
        "if False:",
        "that a restore says which package its machine's image lacks",
        ("tests/local/test_quotas.py::test_what_is_restored_is_kept_to_no_quota",),
    ),
    Mutation(
        "a check of everything",
        "agent/ebbtide_agent/volume.py",
        'return filesystem == EXT4 and _checked(device, "-f")',
        "return filesystem == EXT4 and _checked(device)",
        "that such a check looks at more than what the file system says of itself",
        (
            "tests/local/test_broken_volumes.py::test_what_says_that_it_is_clean_is_looked_through_when_it_comes_from_a_"
            "snapshot_that_may_not_be",
        ),
    ),
    Mutation(
        "fsck's verdict",
        "agent/ebbtide_agent/volume.py",
        " == _DAMAGED:",
        " == 99:",
        "that a volume which fsck cannot mend is told from one that cannot be checked",
        ("tests/local/test_broken_volumes.py",),
    ),
    # -- what the past is searched, and brought back by
    Mutation(
        "the longest line",
        "agent/ebbtide_agent/manifest_file.py",
        "if len(line) == LONGEST_LINE:",
        "if False:",
        "that a manifest of one line without an end is not read into memory",
        ("tests/local/test_manifest.py",),
    ),
)
