# Scenes that could not be read: tried again, listed, and counted at the end of the campaign.
#
# `fetch_scenes` sets such a scene aside and goes on. A campaign in which more are set aside than
# `archive.max_unreadable` makes everything else and then fails, in `check_archive`. The same command then tries
# exactly these scenes again, before anything that follows is planned: a store that comes out the same reruns
# nothing. Scenes that are accepted are left alone.


checkpoint try_again:
    input:
        index=search_index,
        stores=stores_to_try,
    output:
        # Not a result: a campaign in which nothing ever went wrong does not have it.
        LOGS / "try_again.json",
    log:
        LOGS / "try_again.log",
    benchmark:
        BENCHMARKS / "try_again.tsv"
    # Seconds of work: not worth a job on a cluster.
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code("try_again.py"),
        folder=QUARANTINE,
    message:
        "Scenes that had been set aside were tried again"
    script:
        "../../scripts/try_again.py"


rule list_scenes:
    input:
        for_all_tile_months(RESULTS / "masks/{tile}/{window}.csv"),
    output:
        table=report(
            RESULTS / "comparison/scenes.csv",
            caption="../report/scenes.rst",
            category=CATEGORIES["scenes"],
            labels={"figure": "all scenes"},
        ),
        page=report(
            RESULTS / "comparison/scenes.html",
            caption="../report/scenes.rst",
            category=CATEGORIES["scenes"],
            labels={"figure": "scenes set aside or in doubt"},
        ),
        text=SCENES,
    log:
        LOGS / "scenes.log",
    benchmark:
        BENCHMARKS / "scenes.tsv"
    # Seconds of work: not worth a job on a cluster.
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code("list_scenes.py"),
        # For the caption and the report's first page; a Path, which reruns nothing.
        told=SCENES,
    message:
        "Listing the scenes"
    script:
        "../../scripts/list_scenes.py"


rule check_archive:
    input:
        scenes=RESULTS / "comparison/scenes.csv",
        known=known_files,
        found=found_files,
    output:
        RESULTS / "checked/{goal}.txt",
    log:
        LOGS / "checked/{goal}.log",
    benchmark:
        BENCHMARKS / "checked/{goal}.tsv"
    # Seconds of work: not worth a job on a cluster.
    localrule: True
    conda:
        ENVIRONMENT
    params:
        code=code("check_archive.py"),
        max_unreadable=campaign.archive.max_unreadable,
    message:
        "Checking how many scenes are set aside"
    script:
        "../../scripts/check_archive.py"
