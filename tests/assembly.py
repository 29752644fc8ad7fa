"""Loops in the assembly that LLVM emits for x86-64: which are innermost, and what they move between vector registers and the stack."""

import re

LABEL = re.compile(r"^([.\w$]+):")
JUMP = re.compile(r"^\s+(j\w+)\s+(\S+)")
STACK = r"^\s+(?!lea|prefetch)(?=.*%[xyz]mm\d).*\(%({})\b"
FRAME = re.compile(r"^\s+movq\s+%rsp, %rbp", re.M)


def blocks_of(text):
    """{label: (lines, labels of the blocks that may follow)} of one listing; unlabelled blocks get the number of their first line."""
    blocks, name, lines = {}, None, []

    def close(following, *targets):
        nonlocal lines
        if name is not None:
            blocks[name] = lines, [label for label in (*targets, following) if label is not None]
        lines = []

    for number, line in enumerate(text.splitlines()):
        if label := LABEL.match(line):
            close(label[1])
            name = label[1]
        elif jump := JUMP.match(line):
            lines.append(line)
            following = None if jump[1] == "jmp" else number
            close(following, jump[2].removeprefix("*"))
            name = following
        elif re.match(r"^\s+(ret|ud2)", line):
            close(None)
            name = None
        elif re.match(r"^\s+[a-z]", line):
            lines.append(line)
    close(None)
    return {label: (found, [target for target in targets if target in blocks]) for label, (found, targets) in blocks.items()}


def components(graph):
    """The strongly connected components of {node: successors}, by Tarjan's algorithm."""
    index, low, stack, found = {}, {}, [], []

    def visit(root):
        work = [(root, iter(graph[root]))]
        index[root] = low[root] = len(index)
        stack.append(root)
        while work:
            node, successors = work[-1]
            for successor in successors:
                if successor not in index:
                    index[successor] = low[successor] = len(index)
                    stack.append(successor)
                    work.append((successor, iter(graph[successor])))
                    break
                if successor in stack:
                    low[node] = min(low[node], index[successor])
            else:
                work.pop()
                if work:
                    low[work[-1][0]] = min(low[work[-1][0]], low[node])
                if low[node] == index[node]:
                    members = [stack.pop()]
                    while members[-1] != node:
                        members.append(stack.pop())
                    found.append(members)

    for node in graph:
        if node not in index:
            visit(node)
    return found


def innermost_loops(text):
    """The lines of each loop that has no other within: a component of the blocks that is none any more without the block it is entered by."""
    blocks = blocks_of(text)
    graph, loops = {label: targets for label, (_, targets) in blocks.items()}, []

    def search(nodes):
        inside = set(nodes)
        own = {node: [target for target in graph[node] if target in inside] for node in nodes}
        any_loop = False
        for members in components(own):
            if len(members) == 1 and members[0] not in own[members[0]]:
                continue
            any_loop, group = True, set(members)
            entered = [node for node in members if any(node in graph[other] for other in graph if other not in group)] or members[:1]
            if not search([node for node in members if node != entered[0]]):
                loops.append([line for node in graph if node in group for line in blocks[node][0]])
        return any_loop

    search(list(graph))
    return loops


def stack_moves(lines, text):
    """The instructions that move a vector register to or from the stack; `text`: the listing, in which %rbp may be a frame pointer or a number."""
    stack = re.compile(STACK.format("rsp|rbp" if FRAME.search(text) else "rsp"))
    return [line.strip() for line in lines if stack.match(line)]


def products(lines):
    """Multiplications of vectors, fused or not."""
    return sum(bool(re.match(r"^\s+v?(fn?madd\d+|mul)p[sd]\s", line)) for line in lines)
