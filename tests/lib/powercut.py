"""What a power cut could leave of a file system, at any point of a journal that tests/fault/journal_preload.c kept.

    j = Journal(tmp("journal"), folder)          before the programs start; folder: what is to be cut
    env = j.env()                                 for them
    j.mark("250 for message 7")                   what a client has been told; returns the sequence number
    disk = Disk(j)
    for cut in sorted(cuts):
        disk.advance(cut)
        disk.build(out, random.Random(seed), mode)

The strict reading of what syncs promise: fsync of a file keeps its data and size (fdatasync not its mode and date), not
its name. fsync of a folder keeps the names in it as they were when the sync began; a rename is kept, or not, as a whole,
and is kept for sure once the folder that it leads to was synced. syncfs keeps everything. Of all else (MODES):

    drop    nothing is there
    keep    everything is there
    random  of each file's names the first n changes; of content, sectors of 512 or 4096 octets as they were at any time
            since, so writes may be torn and late ones there without early ones; sizes that grew before their data

A Disk that `forgets(path, is_name, seq)` is one of a build in which some syncs are missing: those of this file's content, or
what the syncs of its folder do for its name.
"""
import ctypes
import os
import struct

from harness import TOP, check, helper

# The fault layer stands before a sanitizer's runtime.
os.environ["ASAN_OPTIONS"] = ":".join(filter(None, [os.environ.get("ASAN_OPTIONS"), "verify_asan_link_order=0"]))

OPS = ("", "CREATE", "SIZE", "GROW", "WRITE", "LINK", "UNLINK", "MKDIR", "RMDIR", "RENAME", "MODE", "TIME", "SYNC", "SYNCED",
       "MAPPED", "MARK")
RECORD = struct.Struct("<IHHQQQQqqII")
HEADER_OCTETS = 4096
JOURNAL_OCTETS = 4 << 30  # sparse
MODES = ("drop", "keep", "random")


class Record:
    __slots__ = ("op", "seq", "ino", "dir", "dir2", "a", "b", "name", "data", "pid")


class Journal:
    def __init__(self, path, folder):
        self.path, self.folder = path, folder
        self.library = ctypes.CDLL(helper("fault/journal.so"))
        self.library.journal_create.argtypes = [ctypes.c_char_p, ctypes.c_uint64, ctypes.c_char_p]
        self.library.journal_mark.argtypes = [ctypes.c_char_p, ctypes.c_uint64]
        self.library.journal_mark.restype = ctypes.c_uint64
        self.library.journal_strange.restype = ctypes.c_char_p
        check(self.library.journal_create(path.encode(), JOURNAL_OCTETS, folder.encode()) == 0, "cannot make %s" % path)
        self.start = Snapshot(folder)

    def env(self, sync_us=2000, **more):
        return dict({"LD_PRELOAD": helper("fault/journal.so"), "FAULT_JOURNAL": self.path,
                     "FAULT_SYNC_US": str(sync_us)}, **more)

    def mark(self, text):
        raw = text.encode()
        return self.library.journal_mark(raw, len(raw))

    def strange(self):
        """Why this journal cannot be trusted, or ""."""
        return self.library.journal_strange().decode()

    def records(self):
        with open(self.path, "rb") as f:
            head = f.read(64)
            used = struct.unpack_from("<Q", head, 16)[0]
            f.seek(0)
            raw = f.read(used)
        at = HEADER_OCTETS
        while at < used:
            r = Record()
            octets, op, n_name, r.seq, r.ino, r.dir, r.dir2, r.a, r.b, n_data, r.pid = RECORD.unpack_from(raw, at)
            r.op = OPS[op]
            start = at + RECORD.size
            r.name = raw[start:start + n_name]
            r.data = raw[start + n_name:start + n_name + n_data]
            yield r
            at += octets


class Node:
    """A file or folder that is or was. Files: base is what is on disk for sure, pending what was done since."""

    def __init__(self, is_dir, mode, parent, name):
        self.is_dir, self.parent, self.name = is_dir, parent, name
        self.base, self.pending, self.is_mapped = bytearray(), [], False
        self.mode, self.mtime = mode, None

    def path(self):
        parts, at = [], self
        while at is not None and at.parent is not None:
            parts.append(at.name)
            at = at.parent
        return b"/".join(reversed(parts)).decode("utf-8", "surrogateescape")


class Snapshot:
    """The tree at the beginning: all of it is on disk."""

    def __init__(self, folder):
        self.nodes, self.names = {}, []
        self.root = self.add(folder, None, b"")
        todo = [(folder, self.root)]
        while todo:
            path, node = todo.pop()
            for ent in os.scandir(path):
                if not (ent.is_dir(follow_symlinks=False) or ent.is_file(follow_symlinks=False)):
                    continue
                child = self.add(ent.path, node, os.fsencode(ent.name))
                self.names.append((node, os.fsencode(ent.name), child))
                if child.is_dir:
                    todo.append((ent.path, child))

    def add(self, path, parent, name):
        st = os.lstat(path)
        if st.st_ino in self.nodes:
            return self.nodes[st.st_ino]
        node = Node(os.path.isdir(path), st.st_mode & 0o7777, parent, name)
        if not node.is_dir:
            with open(path, "rb") as f:
                node.base = bytearray(f.read())
            node.mtime = st.st_mtime_ns
        self.nodes[st.st_ino] = node
        return node


class NameChange:
    __slots__ = ("seq", "node", "add", "remove", "folder", "is_settled")

    def __init__(self, seq, node, add, remove):
        self.seq, self.node, self.add, self.remove = seq, node, add, remove
        self.folder = (add or remove)[0]  # whose sync keeps it
        self.is_settled = False

    def path(self):
        return os.path.join(self.folder.path(), os.fsdecode((self.add or self.remove)[1]))


def apply(content, kind, a, data):
    """One pending change to a file's content."""
    if kind == "WRITE":
        if len(content) < a:
            content.extend(bytes(a - len(content)))
        content[a:a + len(data)] = data
    elif kind == "GROW" and len(content) < a:
        content.extend(bytes(a - len(content)))
    elif kind == "SIZE" and len(content) < a:
        content.extend(bytes(a - len(content)))
    elif kind == "SIZE":
        del content[a:]


class Disk:
    def __init__(self, journal, forgets=None):
        check(not journal.strange(), "the fault layer met what it does not know: %s" % journal.strange())
        self.records = journal.records()
        self.next = next(self.records, None)
        start = Snapshot.__new__(Snapshot)
        start.__dict__ = journal.start.__dict__
        copies = {}

        def copy(node):
            if node is None:
                return None
            if id(node) not in copies:
                new = Node(node.is_dir, node.mode, copy(node.parent), node.name)
                new.base, new.mtime = bytearray(node.base), node.mtime
                copies[id(node)] = new
            return copies[id(node)]

        self.now = {ino: copy(node) for ino, node in start.nodes.items()}
        self.root = copy(start.root)
        self.first = [(copy(d), name, copy(n)) for d, name, n in start.names]
        self.changes = []   # all changes of names, in order
        self.unsettled = []
        self.dirty = {}     # files with something pending, by id
        self.forgets = forgets or (lambda path, is_name, seq: False)
        self.seq = 0
        self.syncs = 0

    # ------------------------------------------------------------------------------ the journal

    def advance(self, seq):
        """Everything up to and with this sequence number has been done."""
        while self.next is not None and self.next.seq <= seq:
            getattr(self, "on_" + self.next.op)(self.next)
            self.seq = self.next.seq
            self.next = next(self.records, None)
        return self

    def note(self, r, node, add, remove):
        change = NameChange(r.seq, node, add, remove)
        self.changes.append(change)
        self.unsettled.append(change)

    def create(self, r, is_dir):
        folder = self.now.get(r.dir)
        if folder is None:  # outside
            self.now.pop(r.ino, None)
            return
        node = Node(is_dir, r.a, folder, r.name)
        self.now[r.ino] = node
        self.note(r, node, (folder, r.name), None)

    def on_CREATE(self, r):
        self.create(r, False)

    def on_MKDIR(self, r):
        self.create(r, True)

    def on_LINK(self, r):
        node, folder = self.now.get(r.ino), self.now.get(r.dir)
        if node is not None and folder is not None:
            self.note(r, node, (folder, r.name), None)

    def on_UNLINK(self, r):
        node, folder = self.now.get(r.ino), self.now.get(r.dir)
        if node is not None and folder is not None:
            self.note(r, node, None, (folder, r.name))

    on_RMDIR = on_UNLINK

    def on_RENAME(self, r):
        node, a, b = self.now.get(r.ino), self.now.get(r.dir), self.now.get(r.dir2)
        if node is not None and a is not None and b is not None:
            self.note(r, node, (b, r.data), (a, r.name))
            node.parent, node.name = b, r.data

    def content(self, r):
        node = self.now.get(r.ino)
        if node is not None:
            node.pending.append((r.seq, r.op, r.a, r.data))
            self.dirty[id(node)] = node

    on_SIZE = on_GROW = on_WRITE = on_MODE = on_TIME = content

    def on_MAPPED(self, r):
        if r.ino in self.now:
            self.now[r.ino].is_mapped = True

    def on_MARK(self, r):
        pass

    def on_SYNC(self, r):
        pass

    def settle_file(self, node, before, is_data_only=False):
        if self.forgets(node.path(), False, before):
            return
        left = []
        for p in node.pending:
            if p[0] >= before or (is_data_only and p[1] in ("MODE", "TIME")):
                left.append(p)
            elif p[1] == "MODE":
                node.mode = p[2]
            elif p[1] == "TIME":
                node.mtime = p[2]
            else:
                apply(node.base, *p[1:])
        node.pending = left
        if not left:
            self.dirty.pop(id(node), None)

    def settle_names(self, folder, before):
        left = []
        for c in self.unsettled:
            if c.seq < before and (folder is None or c.folder is folder) and not self.forgets(c.path(), True, before):
                c.is_settled = True
            else:
                left.append(c)
        self.unsettled = left

    def on_SYNCED(self, r):
        self.syncs += 1
        if r.ino == 0:
            for node in list(self.dirty.values()):
                self.settle_file(node, r.a)
            self.settle_names(None, r.a)
            return
        node = self.now.get(r.ino)
        if node is None:
            return
        if node.is_dir:
            self.settle_names(node, r.a)
        else:
            self.settle_file(node, r.a, bool(r.b))

    # ------------------------------------------------------------------------------ what a cut leaves

    def kept_names(self, rng, mode):
        """id(folder) -> {name: node}."""
        if mode == "random":
            share = rng.choice((0.1, 0.5, 0.9))
            open_now = {}
            for c in self.unsettled:
                open_now[id(c.node)] = open_now.get(id(c.node), 0) + 1
            room = {}
            for node, n in open_now.items():
                kept = 0
                while kept < n and rng.random() < share:
                    kept += 1
                room[node] = kept
        names = {}
        for folder, name, node in self.first:
            names.setdefault(id(folder), {})[name] = node
        for c in self.changes:
            if not c.is_settled:
                if mode == "drop":
                    continue
                if mode == "random":
                    room[id(c.node)] -= 1
                    if room[id(c.node)] < 0:
                        continue
            if c.remove is not None and names.get(id(c.remove[0]), {}).get(c.remove[1]) is c.node:
                del names[id(c.remove[0])][c.remove[1]]
            if c.add is not None:
                names.setdefault(id(c.add[0]), {})[c.add[1]] = c.node
        return names

    def content_of(self, node, rng, mode):
        if mode == "drop" or not node.pending:
            return node.base
        now = bytearray(node.base)
        if mode == "keep":
            for p in node.pending:
                apply(now, *p[1:])
            return now
        out, sizes = bytearray(node.base), [len(node.base)]
        sector, share = rng.choice((512, 4096)), rng.choice((0.1, 0.5, 0.9))
        for _seq, kind, a, data in node.pending:
            if kind in ("MODE", "TIME"):
                continue
            apply(now, kind, a, data)
            sizes.append(len(now))
            if kind != "WRITE":
                continue
            if len(out) < len(now):
                out.extend(bytes(len(now) - len(out)))
            for at in range(a // sector * sector, a + len(data), sector):
                if rng.random() < share:
                    piece = now[at:at + sector]
                    out[at:at + len(piece)] = piece
        size = rng.choice(sizes)
        if len(out) < size:
            out.extend(bytes(size - len(out)))
        del out[size:]
        return out

    def build(self, out, rng, mode):
        """The tree under `out`, which is made. Returns how many files it has."""
        names, made, todo, count = self.kept_names(rng, mode), {}, [(self.root, out)], 0
        while todo:
            node, path = todo.pop()
            os.mkdir(path)
            for name, child in sorted(names.get(id(node), {}).items()):
                at = os.path.join(path, os.fsdecode(name))
                if child.is_dir:
                    if child in made:  # a folder renamed by halves: it has one name
                        continue
                    made[child] = at
                    todo.append((child, at))
                elif child in made:
                    os.link(made[child], at)
                else:
                    made[child] = at
                    self.build_file(child, at, rng, mode)
                    count += 1
            os.chmod(path, node.mode)
        return count

    def build_file(self, node, at, rng, mode):
        content = self.content_of(node, rng, mode)
        if node.is_mapped:
            content = rng.randbytes(len(content))
        perms, mtime = node.mode, node.mtime
        for _seq, kind, a, _data in node.pending:
            if kind in ("MODE", "TIME") and mode != "drop" and (mode == "keep" or rng.random() < 0.5):
                perms, mtime = (a, mtime) if kind == "MODE" else (perms, a)
        with open(at, "wb") as f:
            zeros = len(content) - len(content.rstrip(b"\0")) if len(content) > 65536 else 0
            f.write(memoryview(content)[:len(content) - zeros])
            f.truncate(len(content))
        os.chmod(at, perms)
        if mtime is not None:
            os.utime(at, ns=(mtime, mtime))
